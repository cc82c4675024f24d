//! The built binary as a process: started with a configuration of its own, asked, signalled, ended.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::eventually;
use super::ghl::{APP_ID, Ghl, PATH, get};
use super::services::send_signal;

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many lines of a log are shown after a failure.
const LOG_LINES: usize = 100;

/// The queue that gets everything, unless a test says otherwise.
pub const ALL: &str = "hookwell.all";

/// What a daemon is started with. Several daemons, one after the other, may use the same.
#[derive(Clone)]
pub struct DaemonConfig {
    dir: Arc<TempDir>,
    starts: Arc<AtomicUsize>,
    /// `store.url`.
    pub store_url: String,
    /// `broker.url`.
    pub broker_url: String,
    /// Names with their bindings.
    pub queues: Vec<(String, Vec<String>)>,
    /// `signature.ed25519_keys`; empty for GHL's own.
    pub keys: Vec<String>,
    /// Ids with their paths.
    pub apps: Vec<(String, String)>,
    /// More lines of TOML in the first app.
    pub of_app: String,
    /// More lines of TOML by section.
    pub sections: BTreeMap<String, String>,
    /// Environment variables.
    pub variables: Vec<(String, String)>,
    /// Lines at the end of the file, such as more tables.
    pub tail: String,
    /// Another build of the binary than the one under test.
    pub binary: Option<PathBuf>,
    /// A program, with its arguments, that runs the daemon. It has to become the daemon by exec, so
    /// that signals reach it.
    pub wrapper: Vec<String>,
}

impl DaemonConfig {
    /// A daemon on this store that takes what [`Ghl::new`] signs. Its broker does not exist.
    pub fn new(store_url: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hookwell-daemon-")
            .tempdir()
            .unwrap();
        Self {
            dir: Arc::new(dir),
            starts: Arc::new(AtomicUsize::new(0)),
            store_url: store_url.to_owned(),
            // Port 1 is nobody's: refused at once.
            broker_url: "amqp://guest:guest@127.0.0.1:1/%2f".to_owned(),
            queues: vec![(ALL.to_owned(), vec!["#".to_owned()])],
            keys: vec![Ghl::new().key.public_key_pem()],
            apps: vec![(APP_ID.to_owned(), PATH.to_owned())],
            of_app: String::new(),
            sections: BTreeMap::new(),
            variables: Vec::new(),
            tail: String::new(),
            binary: None,
            wrapper: Vec::new(),
        }
    }

    /// The same with a broker.
    pub fn broker(mut self, url: &str) -> Self {
        self.broker_url = url.to_owned();
        self
    }

    /// The same with one more queue.
    pub fn queue(mut self, name: &str, bind: &[&str]) -> Self {
        let bind = bind.iter().map(|pattern| (*pattern).to_owned()).collect();
        self.queues.push((name.to_owned(), bind));
        self
    }

    /// The same with more lines in a section, such as `set("http", "max_waiting = 1")`.
    pub fn set(mut self, section: &str, lines: &str) -> Self {
        let text = self.sections.entry(section.to_owned()).or_default();
        writeln!(text, "{lines}").unwrap();
        self
    }

    /// A folder of the test's own, beside the configuration.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes the file and returns where it is.
    pub fn write(&self) -> PathBuf {
        let mut sections = self.sections.clone();
        let mut put = |section: &str, line: String| {
            let text = sections.entry(section.to_owned()).or_default();
            *text = format!("{line}\n{text}");
        };
        put("http", "listen = \"127.0.0.1:0\"".to_owned());
        put("admin", "listen = \"127.0.0.1:0\"".to_owned());
        put("store", format!("url = {:?}", self.store_url));
        put("broker", format!("url = {:?}", self.broker_url));
        put("signature", format!("ed25519_keys = {:?}", self.keys));
        put("log", "format = \"json\"".to_owned());
        let mut text = String::new();
        for (section, lines) in &sections {
            writeln!(text, "[{section}]\n{lines}").unwrap();
        }
        for (name, bind) in &self.queues {
            writeln!(text, "[[broker.queues]]\nname = {name:?}\nbind = {bind:?}").unwrap();
        }
        for (n, (id, path)) in self.apps.iter().enumerate() {
            let more = if n == 0 { self.of_app.as_str() } else { "" };
            writeln!(text, "[[apps]]\nid = {id:?}\npath = {path:?}\n{more}").unwrap();
        }
        text.push_str(&self.tail);
        let path = self.dir.path().join("hookwell.toml");
        // Another process may be reading it: it changes as a whole.
        let fresh = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        path
    }
}

fn hookwell(config: &DaemonConfig) -> Command {
    let tested = || PathBuf::from(env!("CARGO_BIN_EXE_hookwell"));
    let binary = config.binary.clone().unwrap_or_else(tested);
    let mut command = match config.wrapper.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    for (name, _) in std::env::vars_os() {
        // The machine's own settings must not reach into a test.
        if name.to_string_lossy().starts_with("HOOKWELL_") {
            command.env_remove(name);
        }
    }
    command
        // Help is laid out for it.
        .env_remove("COLUMNS")
        .envs(config.variables.iter().cloned())
        .current_dir(config.dir())
        .stdin(Stdio::null());
    command
}

/// Runs a command of the binary with this configuration and waits for its end.
///
/// # Panics
/// When it takes longer than a minute.
pub fn run_cli(arguments: &[&str], config: &DaemonConfig) -> Output {
    let file = config.write();
    run_plain(
        &[arguments, &["--config", file.to_str().unwrap()]].concat(),
        config,
    )
}

/// The same with a terminal as standard error; what was written there.
pub fn run_on_a_terminal(arguments: &[&str], config: &DaemonConfig) -> String {
    let mut config = config.clone();
    let within = "exec script -qefc \"${*@Q} > /dev/null\" /dev/null";
    config.wrapper = ["bash", "-c", within, "bash"].map(str::to_owned).to_vec();
    config
        .variables
        .push(("TERM".to_owned(), "xterm".to_owned()));
    let output = run_cli(arguments, &config);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {shown}");
    shown
}

/// The same beside tasks that have to go on meanwhile.
pub async fn cli(arguments: &[&str], config: &DaemonConfig) -> Output {
    let config = config.clone();
    let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run_cli(&arguments, &config)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// The same without `--config`.
pub fn run_plain(arguments: &[&str], config: &DaemonConfig) -> Output {
    let child = hookwell(config)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let (done, watched) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let ended = watched.recv_timeout(PATIENCE).is_ok();
        if !ended {
            send_signal("KILL", &[pid]);
        }
        ended
    });
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    assert!(
        watchdog.join().unwrap(),
        "hookwell {arguments:?} did not end within {PATIENCE:?}"
    );
    output
}

/// A running daemon. Dropping it kills it.
pub struct Daemon {
    child: Child,
    /// The log outlives the configuration, whichever a test drops first.
    _dir: Arc<TempDir>,
    log: PathBuf,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Daemon {
    /// Starts one and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(config: &DaemonConfig) -> Self {
        match Self::try_start(config).await {
            Ok(daemon) => daemon,
            Err((code, log)) => panic!("the daemon ended with {code:?}:\n{log}"),
        }
    }

    /// Starts one and waits until it is ready, or until it ended: then its exit code and its log.
    pub async fn try_start(config: &DaemonConfig) -> Result<Self, (Option<i32>, String)> {
        let daemon = Self::launch(config).await?;
        eventually("the daemon is ready", PATIENCE, async || {
            (daemon.ready().await == Some(200)).then_some(())
        })
        .await;
        Ok(daemon)
    }

    /// Starts one and waits only until it listens.
    pub async fn launch(config: &DaemonConfig) -> Result<Self, (Option<i32>, String)> {
        let file = config.write();
        let start = config.starts.fetch_add(1, Ordering::Relaxed);
        let log = config.dir().join(format!("hookwell.{start}.log"));
        let child = hookwell(config)
            .arg("serve")
            .arg("--config")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        const NOT_YET: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        // One from now on, which ends with the test where it does not listen either.
        let mut daemon = Self {
            child,
            _dir: Arc::clone(&config.dir),
            log,
            address: NOT_YET,
            admin: NOT_YET,
        };
        let bound = eventually("the daemon listens", PATIENCE, async || {
            let text = daemon.log();
            let addresses = (
                listening(&text, "http.listen"),
                listening(&text, "admin.listen"),
            );
            match addresses {
                (Some(address), Some(admin)) => Some(Ok((address, admin))),
                _ => Some(Err((daemon.ended()?.code(), daemon.log()))),
            }
        })
        .await;
        (daemon.address, daemon.admin) = bound?;
        Ok(daemon)
    }

    /// Where it takes webhooks.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The webhook URL of the usual app.
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// The admin listener's URL, without a slash at its end.
    pub fn admin(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// The status of `/readyz`; none without an answer.
    pub async fn ready(&self) -> Option<u16> {
        let answer = get(&format!("{}/readyz", self.admin())).await;
        answer.ok().map(|answer| answer.status)
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        get(&format!("{}/metrics", self.admin()))
            .await
            .unwrap()
            .text()
    }

    /// One value of `/metrics`, by its name with labels as it stands there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.metrics().await;
        text.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(' ')?;
            value.parse().ok()
        })
    }

    /// Where its log is written, which outlives it as long as its configuration does.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        send_signal(signal, &[self.child.id()]);
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        eventually("the daemon ends", within, async || self.ended()).await
    }

    /// Asks it to end, and waits.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait(PATIENCE).await
    }

    /// Ends it the hard way.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            eprintln!("--- log of the daemon, its end\n{end}\n---");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address of a listener, from a log in either format.
fn listening(log: &str, listener: &str) -> Option<SocketAddr> {
    log.lines().find_map(|line| {
        if let Ok(line) = serde_json::from_str::<serde_json::Value>(line) {
            let is_it = line["message"] == "listening" && line["listener"] == listener;
            return is_it.then(|| line["address"].as_str()?.parse().ok())?;
        }
        let (_, rest) = line.split_once(&format!("listening listener={listener:?} address="))?;
        rest.split_whitespace().next()?.parse().ok()
    })
}
