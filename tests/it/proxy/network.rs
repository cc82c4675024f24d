//! Faults that know nothing but bytes.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{NOTHING, WITHIN};
use crate::harness::{Counters, Ending, Network, Proxy, Side, eventually};

struct Pair {
    proxy: Proxy,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

async fn connect(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(("127.0.0.1", proxy.port()))
        .await
        .unwrap();
    let (server, _) = timeout(WITHIN, listener.accept()).await.unwrap().unwrap();
    (client, server)
}

impl Pair {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::in_front_of(listener.local_addr().unwrap().port()).await;
        let (client, server) = connect(&proxy, &listener).await;
        Self {
            proxy,
            listener,
            client,
            server,
        }
    }

    async fn again(&mut self) {
        (self.client, self.server) = connect(&self.proxy, &self.listener).await;
    }
}

/// So many bytes, which must come in time.
async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let read = timeout(WITHIN, stream.read_exact(&mut bytes)).await;
    read.expect("in time").unwrap();
    bytes
}

/// Everything up to the end, and how it ended.
async fn rest(stream: &mut TcpStream) -> (Vec<u8>, Result<(), ErrorKind>) {
    let mut bytes = Vec::new();
    let end = timeout(WITHIN, stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    (bytes, end.map(drop).map_err(|error| error.kind()))
}

/// Not a byte and no end comes.
async fn is_silent(stream: &mut TcpStream) {
    let read = timeout(NOTHING, stream.read(&mut [0; 1])).await;
    assert!(read.is_err(), "{read:?}");
}

const RESET: Result<(), ErrorKind> = Err(ErrorKind::ConnectionReset);

#[tokio::test]
async fn bytes_ends_and_resets_pass_and_are_counted() {
    let mut pair = Pair::new().await;
    pair.client.write_all(b"a question").await.unwrap();
    assert_eq!(read(&mut pair.server, 10).await, b"a question");
    pair.server.write_all(b"an answer").await.unwrap();
    assert_eq!(read(&mut pair.client, 9).await, b"an answer");
    pair.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut pair.server).await, (vec![], Ok(())));
    pair.server.write_all(b"late").await.unwrap();
    pair.server.set_zero_linger().unwrap();
    // Answers that are under way are not lost to a reset behind them.
    assert_eq!(read(&mut pair.client, 4).await, b"late");
    drop(pair.server);
    assert_eq!(rest(&mut pair.client).await, (vec![], RESET));
    let expected = Counters {
        opened: 1,
        from_client: 10,
        from_server: 13,
    };
    assert_eq!(pair.proxy.counters(), expected);
    eventually("the connection is forgotten", WITHIN, async || {
        (pair.proxy.connections() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_sent_before_a_reset_still_arrives() {
    let mut pair = Pair::new().await;
    pair.proxy.network(Network::BlackholeFrom(Side::Client));
    pair.client.write_all(b"last words").await.unwrap();
    pair.client.set_zero_linger().unwrap();
    drop(pair.client);
    // That nobody takes this any more is not yet known to the server.
    pair.server.write_all(b"nobody hears").await.unwrap();
    is_silent(&mut pair.server).await;
    pair.proxy.network(Network::Passes);
    assert_eq!(read(&mut pair.server, 10).await, b"last words");
    assert_eq!(rest(&mut pair.server).await, (vec![], RESET));
}

#[tokio::test]
async fn a_delay_is_as_long_for_many_pieces_as_for_one() {
    let mut pair = Pair::new().await;
    let delay = Duration::from_millis(200);
    pair.proxy.network(Network::Delays(delay));
    // The change is seen before the next byte is read.
    let began = Instant::now();
    let (mut from_client, mut into_client) = pair.client.into_split();
    let writing = tokio::spawn(async move {
        for _ in 0..30 {
            into_client.write_all(b".").await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        into_client
    });
    assert_eq!(read(&mut pair.server, 1).await, b".");
    assert!(delay <= began.elapsed(), "{:?}", began.elapsed());
    read(&mut pair.server, 29).await;
    let took = began.elapsed();
    assert!(took < 10 * delay, "delays have added up: {took:?}");
    let asked = Instant::now();
    pair.server.write_all(b"!").await.unwrap();
    from_client.read_exact(&mut [0; 1]).await.unwrap();
    assert!(delay <= asked.elapsed());
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn a_line_can_go_dead_one_way_only() {
    for dead in [Side::Client, Side::Server] {
        let mut pair = Pair::new().await;
        pair.proxy.network(Network::BlackholeFrom(dead));
        let (talks, hears) = match dead {
            Side::Client => (&mut pair.client, &mut pair.server),
            Side::Server => (&mut pair.server, &mut pair.client),
        };
        talks.write_all(b"into the void").await.unwrap();
        is_silent(hears).await;
        hears.write_all(b"the other way").await.unwrap();
        assert_eq!(read(talks, 13).await, b"the other way");
        pair.proxy.network(Network::Passes);
        assert_eq!(read(hears, 13).await, b"into the void");
    }
}

#[tokio::test]
async fn a_cut_is_exact_to_the_byte_from_either_side() {
    let mut pair = Pair::new().await;
    let text: Vec<u8> = (0..20_000_u32).map(|n| n as u8).collect();
    for cut in [0, 1, 4_095, 16_384, 16_385, 19_999, 20_000] {
        for side in [Side::Client, Side::Server] {
            pair.again().await;
            pair.proxy.cut_after_from(side, cut);
            let (talks, hears) = match side {
                Side::Client => (&mut pair.client, &mut pair.server),
                Side::Server => (&mut pair.server, &mut pair.client),
            };
            // It may be cut while this is written.
            let (_, (heard, end)) = tokio::join!(talks.write_all(&text), rest(hears));
            assert_eq!((heard.len(), end), (cut as usize, RESET), "{side:?}");
            assert_eq!(heard, text[..cut as usize]);
            assert!(!pair.proxy.cut_is_due());
            assert_eq!(rest(talks).await.1, RESET, "{side:?}");
        }
    }
}

#[tokio::test]
async fn one_direction_can_end_while_the_other_goes_on() {
    for ended in [Side::Client, Side::Server] {
        let mut pair = Pair::new().await;
        pair.proxy.half_close(ended);
        let (talks, hears) = match ended {
            Side::Client => (&mut pair.client, &mut pair.server),
            Side::Server => (&mut pair.server, &mut pair.client),
        };
        assert_eq!(rest(hears).await, (vec![], Ok(())));
        talks.write_all(b"thrown away").await.unwrap();
        hears.write_all(b"the other way").await.unwrap();
        assert_eq!(read(talks, 13).await, b"the other way");
    }
}

#[tokio::test]
async fn an_answer_can_be_swallowed_when_its_request_has_passed() {
    let mut pair = Pair::new().await;
    pair.proxy.swallow_answers(2, Ending::Reset);
    for left in [1, 0] {
        pair.client.write_all(b"request").await.unwrap();
        assert_eq!(read(&mut pair.server, 7).await, b"request");
        pair.server.write_all(b"answer").await.unwrap();
        assert_eq!(rest(&mut pair.client).await, (vec![], RESET));
        assert_eq!(pair.proxy.answers_to_swallow(), left);
        pair.again().await;
    }
    pair.server.write_all(b"answer").await.unwrap();
    assert_eq!(read(&mut pair.client, 6).await, b"answer");

    pair.proxy.swallow_answers(1, Ending::Silence);
    pair.server.write_all(b"answer").await.unwrap();
    is_silent(&mut pair.client).await;
    is_silent(&mut pair.server).await;
    pair.proxy.cut();
    assert_eq!(rest(&mut pair.client).await.1, RESET);
    assert_eq!(rest(&mut pair.server).await.1, RESET);
}

#[tokio::test]
async fn refused_connections_are_reset_and_new_ones_can_lead_elsewhere() {
    let mut pair = Pair::new().await;
    pair.proxy.network(Network::Refuses);
    let mut refused = TcpStream::connect(("127.0.0.1", pair.proxy.port()))
        .await
        .unwrap();
    assert_eq!(rest(&mut refused).await, (vec![], RESET));
    pair.client.write_all(b"standing").await.unwrap();
    assert_eq!(read(&mut pair.server, 8).await, b"standing");

    pair.proxy.network(Network::Passes);
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    pair.proxy.lead_to(elsewhere.local_addr().unwrap().port());
    let (mut client, mut server) = connect(&pair.proxy, &elsewhere).await;
    client.write_all(b"here").await.unwrap();
    assert_eq!(read(&mut server, 4).await, b"here");
}

#[tokio::test]
async fn a_side_that_does_not_read_holds_up_the_other_one() {
    let mut pair = Pair::new().await;
    let piece = vec![0; 1024 * 1024];
    let mut taken = 0;
    // Sockets hold some megabytes each, and the proxy one; what has no bound would take all of this.
    while taken < 200 {
        match timeout(NOTHING, pair.client.write_all(&piece)).await {
            Ok(written) => written.unwrap(),
            Err(_) => break,
        }
        taken += 1;
    }
    assert!(taken < 200, "{taken} MiB were taken");
    let read = read(&mut pair.server, taken * piece.len()).await;
    assert_eq!(read.len(), taken * piece.len());
}
