//! A headless Chromium, driven over WebDriver (<https://www.w3.org/TR/webdriver2/>) by Debian's chromedriver.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::eventually;

const PATIENCE: Duration = Duration::from_secs(60);
/// How WebDriver names an element in JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. Dropping it ends it.
pub struct Browser {
    driver: Child,
    http: reqwest::Client,
    session: String,
}

impl Browser {
    /// Starts one with a window of this size.
    pub async fn start(width: u32, height: u32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        // It picks a free port by itself and says which.
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("chromedriver.log");
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is there; `bash tests/run.sh` installs it");
        let mut browser = Self {
            driver,
            http,
            session: String::new(),
        };
        let port = eventually("chromedriver listens", PATIENCE, async || {
            let said = std::fs::read_to_string(&log).unwrap();
            let (_, rest) = said.split_once("started successfully on port ")?;
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse::<u16>()
                .ok()
        })
        .await;
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".to_owned(),
            format!("--window-size={width},{height}"),
        ];
        // Root has no sandbox to be in; the pages are our own.
        arguments.push("--no-sandbox".to_owned());
        let wanted = json!({"capabilities": {"alwaysMatch": {"browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": {"args": arguments}}}});
        browser.session = format!("http://127.0.0.1:{port}/session");
        let made = browser.call("POST", "", wanted).await;
        browser.session = format!(
            "{}/{}",
            browser.session,
            made["sessionId"].as_str().unwrap()
        );
        browser.command("Emulation.setDeviceMetricsOverride", json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})).await;
        browser
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        self.try_call(method, path, body)
            .await
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    async fn try_call(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let method = method.parse().unwrap();
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.session))
            .timeout(PATIENCE);
        if !body.is_null() {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let response = request.send().await.map_err(|error| error.to_string())?;
        let good = response.status().is_success();
        let bytes = response.bytes().await.map_err(|error| error.to_string())?;
        let said: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        match good {
            true => Ok(said["value"].clone()),
            false => Err(said["value"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned()),
        }
    }

    /// A command of Chromium's own.
    pub async fn command(&self, name: &str, parameters: Value) -> Value {
        self.call(
            "POST",
            "/goog/cdp/execute",
            json!({"cmd": name, "params": parameters}),
        )
        .await
    }

    /// Whether pages see a person who likes it dark.
    pub async fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.command("Emulation.setEmulatedMedia", features).await;
    }

    /// Whether pages may run scripts.
    pub async fn scripts(&self, allowed: bool) {
        self.command(
            "Emulation.setScriptExecutionDisabled",
            json!({"value": !allowed}),
        )
        .await;
    }

    pub async fn go(&self, url: &str) {
        self.call("POST", "/url", json!({"url": url})).await;
    }

    /// Where it is.
    pub async fn url(&self) -> String {
        self.call("GET", "/url", Value::Null)
            .await
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Waits for an element.
    async fn element(&self, css: &str) -> String {
        let wanted = json!({"using": "css selector", "value": css});
        eventually(
            &format!("{css} is there"),
            Duration::from_secs(20),
            async || {
                let found = self
                    .try_call("POST", "/element", wanted.clone())
                    .await
                    .ok()?;
                Some(found[ELEMENT].as_str()?.to_owned())
            },
        )
        .await
    }

    pub async fn click(&self, css: &str) {
        let element = self.element(css).await;
        self.call("POST", &format!("/element/{element}/click"), json!({}))
            .await;
    }

    pub async fn write(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.call(
            "POST",
            &format!("/element/{element}/value"),
            json!({"text": text}),
        )
        .await;
    }

    /// What a person reads in it. A page that shows itself again takes elements away under one's hands.
    pub async fn text(&self, css: &str) -> String {
        eventually(&format!("{css} can be read"), PATIENCE, async || {
            let element = self.element(css).await;
            let text = self
                .try_call("GET", &format!("/element/{element}/text"), Value::Null)
                .await;
            Some(text.ok()?.as_str()?.to_owned())
        })
        .await
    }

    /// Waits until a person reads this in it: a click may show the next page a moment later.
    pub async fn reads(&self, css: &str, wanted: &str) {
        eventually(&format!("{css} says {wanted}"), PATIENCE, async || {
            (self.text(css).await == wanted).then_some(())
        })
        .await;
    }

    /// Runs a function body and waits for what it returns, promises too.
    pub async fn run(&self, script: &str) -> Value {
        self.call(
            "POST",
            "/execute/sync",
            json!({"script": script, "args": []}),
        )
        .await
    }

    /// What the console of the page said since the last time: nothing, unless something is wrong.
    pub async fn complaints(&self) -> Vec<String> {
        let lines = self
            .call("POST", "/se/log", json!({"type": "browser"}))
            .await;
        lines
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A picture of the window, as a PNG.
    pub async fn picture(&self) -> Vec<u8> {
        use base64::Engine as _;
        let text = self.call("GET", "/screenshot", Value::Null).await;
        base64::engine::general_purpose::STANDARD
            .decode(text.as_str().unwrap())
            .unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser when its session is deleted, and not when it is told to end itself.
        if let Err(error) = self.delete_session() {
            eprintln!("the browser may be left over: {error}");
        }
        super::services::send_signal("TERM", &[self.driver.id()]);
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// Without the runtime, which may be gone with a test that failed.
    fn delete_session(&self) -> std::io::Result<()> {
        use std::io::{Read, Write};
        let rest = self.session.trim_start_matches("http://");
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut connection = std::net::TcpStream::connect(address)?;
        connection.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(
            connection,
            "DELETE /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )?;
        // The answer comes when the browser has ended; the driver leaves the connection open behind it.
        connection.read_exact(&mut [0; 1])?;
        Ok(())
    }
}
