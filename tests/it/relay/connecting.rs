//! Several addresses and TLS.

use super::*;

#[tokio::test]
async fn the_next_address_is_used_when_one_is_dead_or_silent() {
    let broker = fresh_vhost().await;
    let proxy = Proxy::in_front_of(port_of(&broker.url)).await;
    proxy.network(Network::Blackhole);
    let mut settings = settings(&broker.url, TopologyMode::Declare, vec![]);
    let dead = "amqp://guest:guest@127.0.0.1:1/%2f".to_owned();
    let silent = proxy.url(&broker.url, port_of(&broker.url));
    let urls = [&dead, &silent, &broker.url];
    settings.addresses = urls.map(|url| Credentials::parse(url).unwrap()).to_vec();
    settings.connect_timeout = Duration::from_secs(1);
    // The declarations that follow share the bound, so a slow machine gets more than one try.
    let session = eventually("a session", WITHIN, async || {
        Session::open(&settings).await.ok()
    })
    .await;
    let expected = format!("127.0.0.1:{}", port_of(&broker.url));
    assert_eq!(session.address(), expected);
    session.close().await;

    settings.addresses.truncate(2);
    let error = refused(&settings).await;
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("guest"), "{error:?}");
}

fn port_of(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once('@').unwrap();
    let (_, port) = rest.split_once(':').unwrap();
    port.split('/').next().unwrap().parse().unwrap()
}

/// Runs openssl in a folder.
fn openssl(folder: &std::path::Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {said}");
}

#[tokio::test]
async fn tls_needs_a_trusted_certificate_for_the_name_that_was_asked_for() {
    let broker = own_broker().await;
    let etc = broker.dir().join("etc");
    openssl(
        &etc,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca \
         -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign -keyout ca.key -out ca.pem",
    );
    openssl(
        &etc,
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=broker -keyout server.key -out server.csr",
    );
    std::fs::write(etc.join("san"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        &etc,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem",
    );
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let path = |name: &str| etc.join(name).display().to_string();
    let file = etc.join("rabbitmq.conf");
    let mut conf = std::fs::read_to_string(&file).unwrap();
    conf.push_str(&format!(
        "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\nssl_options.verify = verify_none\n",
        path("ca.pem"),
        path("server.pem"),
        path("server.key"),
    ));
    std::fs::write(&file, conf).unwrap();
    broker.restart().await;

    let ca = std::fs::read_to_string(etc.join("ca.pem")).unwrap();
    let url = |host: &str| format!("amqps://guest:guest@{host}:{port}/%2f");
    let with = |host: &str, ca_pem: Option<&String>| {
        let mut settings = settings(&url(host), TopologyMode::Declare, vec![]);
        settings.ca_pem = ca_pem.cloned();
        settings
    };
    let session = Session::open(&with("localhost", Some(&ca))).await.unwrap();
    assert_eq!(session.address(), format!("localhost:{port}"));
    session.close().await;
    for (host, ca_pem) in [("localhost", None), ("127.0.0.1", Some(&ca))] {
        let error = refused(&with(host, ca_pem)).await;
        assert!(matches!(error, Error::Connect { .. }), "{error:?}");
        let text = Chain(&error).to_string().to_lowercase();
        assert!(text.contains("certificate"), "{host}: {text}");
    }

    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url())
        .broker(&url("localhost"))
        .set("broker", &format!("ca_file = {:?}", path("ca.pem")));
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    let body = ghl.body("ContactCreate", TENANT, 1);
    assert_eq!(ghl.post(&daemon, &body).await.status, 200);
    let sink = Sink::open(&broker.value("AMQP_URL"), &[ALL]).await;
    assert_eq!(sink.wait_for(1, WITHIN).await[0].body, body);
}
