//! Where a secret might be: what the daemon and its commands say to whoever asks, and the store as it lies there.
//! The canaries are written down beside it; the checker looks for them.

use std::path::Path;
use std::process::Output;

use super::Crafted;
use super::api::CLIENT_SECRET;
use super::follow_ups::{Calls, key_text};
use super::run::{Parts, Run};
use crate::abilities::command;
use crate::generator::CANARY_MAIL;
use crate::harness::{Client, DaemonConfig, run_cli};
use crate::records::calls::{CANARIES, Canary, DUMP, SAID};
use crate::records::{self, Class};

/// How every token of the played GHL begins, and so the `authorization` header of every call.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiIs";

/// Lets whoever runs the bench into the console.
const ADMIN_TOKEN: &str = "canary-admin-token-0123456789abcdef";
/// Every page of it that shows no body: bodies are shown to a person as they came.
const PAGES: [&str; 9] = [
    "/",
    "/events",
    "/follow-ups",
    "/dead-letters",
    "/replays",
    "/quarantine",
    "/installations",
    "/gaps",
    "/audit",
];

/// The same daemon with a console.
pub(super) fn with_console(config: DaemonConfig) -> DaemonConfig {
    let file = config.dir().join("admin-tokens");
    std::fs::write(&file, format!("bench:{ADMIN_TOKEN}\n")).unwrap();
    config.set("admin", &format!("token_file = {file:?}"))
}

/// Writes down what must appear nowhere.
pub(super) fn write_canaries(folder: &Path, calls: Option<&Calls>) {
    let canary = |name: &str, text: String, stored_sealed| Canary {
        name: name.to_owned(),
        text,
        stored_sealed,
    };
    // Bodies are kept as they came, and so are the addresses in them.
    let mut canaries = vec![canary("a contact's e-mail", CANARY_MAIL.to_owned(), false)];
    if calls.is_some() {
        canaries.extend([
            canary("the client secret", CLIENT_SECRET.to_owned(), true),
            canary("a token", TOKEN.to_owned(), true),
            canary("the sealing key", key_text(), true),
            canary("a console's token", ADMIN_TOKEN.to_owned(), true),
        ]);
    }
    records::save(folder, CANARIES, &canaries).unwrap();
}

impl Run {
    /// Asks for everything that is said to anybody, bad questions too.
    pub(super) async fn ask_around(&mut self) {
        let folder = self.folder().join(SAID);
        std::fs::create_dir_all(&folder).unwrap();
        let keep = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
        keep("metrics", self.daemon().metrics().await.as_bytes());
        for (n, path) in [
            "/oauth/callback?code=made-up&state=made-up",
            "/oauth/callback?error=access_denied",
            "/oauth/install?app=another",
        ]
        .iter()
        .enumerate()
        {
            let page = self.browse(path, None).await;
            keep(&format!("page-{n}"), format!("{page:?}").as_bytes());
        }
        let unsigned = Crafted::refused(
            Class::Unsigned,
            &[],
            format!("{{\"email\":\"{CANARY_MAIL}\"}}"),
        );
        let answer = self.post(&unsigned).await;
        keep("refusal", format!("{answer:?}").as_bytes());
        self.visit_the_console(&keep).await;
        let pid = self.daemon().pid();
        keep(
            "cmdline",
            &std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default(),
        );
        for arguments in [
            &["status"][..],
            &["check-config"],
            &["installs", "list", "--all", "--limit", "1000"],
            &["follow-ups", "list", "--limit", "1000", "--json"],
            &["follow-ups", "list", "--state", "dead"],
            &["events", "list", "--limit", "1000", "--json"],
            &["dead-letters", "list"],
            &["quarantine", "list"],
        ] {
            let config = &self.parts.config;
            let Output {
                stdout,
                stderr,
                status,
            } = tokio::task::block_in_place(|| run_cli(arguments, config));
            let text = [stdout, stderr, format!("\n{status}\n").into_bytes()].concat();
            keep(&arguments.join("-"), &text);
        }
    }

    /// Every page as a browser and as a program sees it, and the door.
    async fn visit_the_console(&self, keep: &impl Fn(&str, &[u8])) {
        let url = self.daemon().admin();
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let bearer = header("authorization", &format!("Bearer {ADMIN_TOKEN}"));
        for (n, path) in PAGES.iter().enumerate() {
            for accept in ["text/html", "application/json"] {
                let headers = [bearer.clone(), header("accept", accept)];
                let mut client = Client::connect(address).await.unwrap();
                let page = client.request("GET", path, &headers, &[]).await.unwrap();
                assert_eq!(page.status, 200, "{path}: {}", page.text());
                let kind = accept.rsplit('/').next().unwrap();
                keep(&format!("console-{n}.{kind}"), &page.body);
            }
        }
        for (name, token) in [("let-in", ADMIN_TOKEN), ("refused", "somebody-elses")] {
            let form = format!("token={token}&next=%2F");
            let headers = [
                header("content-type", "application/x-www-form-urlencoded"),
                header("accept", "text/html"),
                header("origin", "http://hookwell.test"),
            ];
            let mut client = Client::connect(address).await.unwrap();
            let door = client
                .request("POST", "/login", &headers, form.as_bytes())
                .await
                .unwrap();
            keep(&format!("console-{name}"), format!("{door:?}").as_bytes());
        }
    }

    /// Copies the store as it lies there, or has its own tool write it out.
    pub(super) fn dump_store(&self) {
        let Parts { store, folder, .. } = &self.parts;
        let to = folder.join(DUMP);
        std::fs::create_dir_all(&to).unwrap();
        match &store.postgres {
            Some(postgres) => {
                let tool = format!("{}/pg_dump", postgres.server.value("PG_BIN"));
                let output = command(&tool)
                    .arg("--inserts")
                    .arg(&store.url)
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "pg_dump: {said}");
                std::fs::write(to.join("pg_dump.sql"), output.stdout).unwrap();
            }
            None => {
                let file = super::dump::file_of(&store.url);
                for end in ["", "-wal"] {
                    let from = format!("{}{end}", file.display());
                    if Path::new(&from).exists() {
                        std::fs::copy(&from, to.join(format!("hookwell.db{end}"))).unwrap();
                    }
                }
            }
        }
    }
}
