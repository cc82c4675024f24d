//! The command, as a developer types it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Said, client, said, text};
use crate::harness::Ghl as Sender;
use crate::harness::services::send_signal;
use crate::harness::{Backend, Daemon, DaemonConfig, eventually, run_cli, store_url};

/// The command, running. Dropping it kills it.
struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(arguments: &[&str]) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hookwell"))
        .args(["dev", "ghl", "--listen", "127.0.0.1:0"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    Running { child, out }
}

/// The value in a line such as `api_base = "http://…"`.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{key} = \"")));
    let line = line.unwrap_or_else(|| panic!("no {key} in:\n{text}"));
    line.split('"').next().unwrap()
}

#[tokio::test]
async fn the_command_shows_the_lines_for_a_daemon_and_plays_ghl_until_it_is_ended() {
    let mut running = start(&[
        "--locations",
        "2",
        "--contacts",
        "4",
        "--client-secret",
        "s3cret",
        "--burst",
        "5",
    ]);
    let mut shown = String::new();
    while !shown.contains("/_dev/\n") {
        assert!(running.out.read_line(&mut shown).unwrap() > 0, "{shown}");
    }
    // What it shows is a configuration, once the secret is in its file.
    let (_, toml) = shown.split_once("For hookwell.toml:\n").unwrap();
    let (toml, _) = toml.split_once("\nThe install link").unwrap();
    let table: toml::Table = toml.parse().unwrap();
    assert_eq!(
        table["apps"][0]["id"].as_str(),
        Some("65f0c0ffee65f0c0ffee65f0")
    );
    assert!(shown.contains("s3cret"));
    let (base, link) = (value(&shown, "api_base"), value(&shown, "install_url"));
    assert!(link.starts_with(base), "{shown}");

    let http = client(Duration::from_secs(30));
    let answer = said(http.get(format!("{link}&state=x"))).await;
    let back = answer.header("location").unwrap();
    assert!(
        back.starts_with("http://127.0.0.1:8080/oauth/callback?code="),
        "{back}"
    );
    let code = back.split(['=', '&']).nth(1).unwrap();
    let form = format!(
        "client_id={}&client_secret=s3cret&grant_type=authorization_code&code={code}",
        value(&shown, "client_id")
    );
    let request = http
        .post(format!("{base}/oauth/token"))
        .header("content-type", super::FORM);
    let agency = text(&said(request.body(form)).await.ok(), "access_token");
    let post = async |path: &str, token: &str, media_type: &str, body: &str| -> Said {
        let request = http
            .post(format!("{base}{path}"))
            .header("version", "2021-07-28");
        let request = request.header("authorization", format!("Bearer {token}"));
        said(
            request
                .header("content-type", media_type)
                .body(body.to_owned()),
        )
        .await
    };
    let form = "companyId=DevCompany0000000001&locationId=DevLocation000000001";
    let token = text(
        &post("/oauth/locationToken", &agency, super::FORM, form)
            .await
            .ok(),
        "access_token",
    );
    let body = r#"{"locationId":"DevLocation000000001","pageLimit":10}"#;
    let found = post("/contacts/search", &token, "application/json", body).await;
    assert_eq!(found.ok()["total"], 4);
    assert_eq!(found.header("x-ratelimit-max"), Some("5"));
    // It makes up what it is asked for.
    let request = http
        .get(format!("{base}/contacts/whoever"))
        .header("version", "2021-07-28");
    let contact = said(request.header("authorization", format!("Bearer {token}")))
        .await
        .ok();
    assert_eq!(contact["contact"]["id"], "whoever");
    let report = said(http.get(format!("{base}/_dev/report"))).await.ok();
    assert_eq!(report["minted"]["DevLocation000000001"], 1);

    send_signal("INT", &[running.child.id()]);
    let ended = eventually("the command ends", Duration::from_secs(20), async || {
        running.child.try_wait().unwrap()
    })
    .await;
    assert!(ended.success());
    // Each request was said, and no token.
    let mut log = String::new();
    running
        .child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(log.contains("GET /contacts/whoever"), "{log}");
    assert!(
        !log.contains(&token) && !log.contains(code) && !log.contains("s3cret"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_prints_works_as_it_is_pasted() {
    let secret = "it's a \"secret\" with $HOME";
    let mut running = start(&["--client-secret", secret]);
    let mut shown = String::new();
    while !shown.contains("/_dev/\n") {
        assert!(running.out.read_line(&mut shown).unwrap() > 0, "{shown}");
    }
    let (_, rest) = shown.split_once("daemon runs in:\n").unwrap();
    let (commands, rest) = rest.split_once("For hookwell.toml:\n").unwrap();
    let (toml, _) = rest.split_once("\nThe install link").unwrap();

    let store = store_url(Backend::Sqlite).await;
    let mut config = DaemonConfig::new(store.url());
    config.apps.clear();
    config.tail = toml.to_owned();
    let refused = run_cli(&["check-config"], &config);
    assert_eq!(
        refused.status.code(),
        Some(78),
        "the files are not there yet"
    );
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_hookwell"));
    let mut path = binary.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let made = Command::new("sh")
        .args(["-ec", commands])
        .env("PATH", &path)
        .current_dir(config.dir())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let output = run_cli(&["check-config"], &config);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    // As a browser installs the app: to the GHL that is played, and back.
    let daemon = Daemon::start(&config).await;
    let http = client(Duration::from_secs(30));
    let install = format!("http://{}/oauth/install", daemon.address());
    let page = value(&shown, "api_base").to_owned() + "/v2/oauth/chooselocation?";
    for way in ["", "?white_label=1"] {
        let begin = said(http.get(format!("{install}{way}"))).await;
        let at_ghl = begin.header("location").unwrap();
        assert!(at_ghl.starts_with(&page), "{at_ghl}");
        let back = said(http.get(at_ghl)).await;
        let back = back.header("location").unwrap();
        let query = back.strip_prefix("http://127.0.0.1:8080").unwrap();
        let cookie = begin
            .header("set-cookie")
            .unwrap()
            .split(';')
            .next()
            .unwrap();
        let callback = http.get(format!("http://{}{query}", daemon.address()));
        let installed = said(callback.header("cookie", cookie)).await;
        assert_eq!(installed.status, 200, "{installed:?}");
        assert!(
            installed.text.contains("The app is installed"),
            "{installed:?}"
        );
    }

    // And a webhook of what it plays.
    let command = shown
        .lines()
        .find(|line| line.starts_with("hookwell send"))
        .unwrap();
    std::fs::write(
        config.dir().join("dev-key.pem"),
        Sender::new().key.to_pkcs8_pem(),
    )
    .unwrap();
    let sent = Command::new("sh")
        .args(["-ec", command])
        .env("PATH", &path)
        .env("HOOKWELL_HTTP__LISTEN", daemon.address().to_string())
        .current_dir(config.dir())
        .output()
        .unwrap();
    assert!(sent.status.success(), "{sent:?}");
    let listed = run_cli(
        &["events", "list", "--tenant", "DevLocation000000001"],
        &config,
    );
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("ContactCreate"), "{listed}");
}

#[tokio::test]
async fn a_strict_server_makes_nothing_up_and_an_address_in_use_is_said() {
    let mut running = start(&["--strict"]);
    let mut line = String::new();
    running.out.read_line(&mut line).unwrap();
    let address = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("http://"))
        .unwrap();
    let config = DaemonConfig::new("sqlite://unused.db");
    let output = crate::harness::daemon::run_plain(&["dev", "ghl", "--listen", address], &config);
    assert_eq!(output.status.code(), Some(69));
    let said_so = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said_so.contains(address) && said_so.contains("--listen"),
        "{said_so}"
    );

    let http = client(Duration::from_secs(30));
    let code = http
        .post(format!("http://{address}/_dev/code"))
        .body(r#"{"location":"DevLocation000000001"}"#);
    let code = text(&said(code).await.ok(), "code");
    let form = format!(
        "client_id=65f0c0ffee65f0c0ffee65f0-lx1a2b3c&client_secret=a-secret-for-development-only&grant_type=authorization_code&code={code}"
    );
    let request = http
        .post(format!("http://{address}/oauth/token"))
        .header("content-type", super::FORM);
    let token = text(&said(request.body(form)).await.ok(), "access_token");
    let request = http
        .get(format!("http://{address}/contacts/whoever"))
        .header("version", "2021-07-28");
    let answer = said(request.header("authorization", format!("Bearer {token}"))).await;
    assert_eq!(answer.status, 404);
}
