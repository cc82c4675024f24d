//! Requests byte by byte: what comes of a head, or of a body's framing, that two servers could read
//! differently.
//!
//! The rule is 400 and an end of the connection, or one request that cannot be taken for two. Every row
//! holds a validly signed body, and `{next}` is a second request that would be accepted if anybody read
//! it: a row that lets it through has an answer too many.

use crate::harness::ghl::PATH;
use crate::harness::{Backend, Client, Daemon, DaemonConfig, Ghl, store_url};

/// What becomes of the connection after the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Open,
    Closed,
}

use Then::{Closed, Open};

/// What it is, the answers, the connection after them, why so, and the bytes. In these are put: `{post}`
/// the request line with signature and host, `{head}` the same without a host, `{sig}` the signature's
/// line, `{len}` and `{body}` the signed body and its length, `{hex}` its length in hexadecimal,
/// `{chunks}` the body as one chunk and the last chunk, `{next}` another request, `{next_len}` its
/// length, `{long}` 300 KB, `{many}` 150 lines.
type Row = (
    &'static str,
    &'static [u16],
    Then,
    &'static str,
    &'static str,
);

const PLAIN: &str = "what GHL and every proxy send";
const REFUSED: &str = "refused, and nothing behind it is read";
const CODING_DECIDES: &str = "the HTTP parser drops the length before anybody sees it (RFC 9112, 6.3: the coding decides); one \
     request, and nothing behind it is read";
const SAME_LENGTH: &str = "the HTTP parser makes one of lengths that agree (RFC 9112, 6.3); every reader sees the same end";
const BARE_LF: &str = "the HTTP parser takes it for a line's end (RFC 9112, 2.2); it ends the same line for every reader \
     that goes on, and the body's end does not hang on it";
const UNUSED: &str = "nothing here reads it";

#[rustfmt::skip]
const LENGTHS: &[Row] = &[
    ("a length", &[200], Open, PLAIN,
     "{post}content-length: {len}\r\n\r\n{body}"),
    ("the same length twice", &[200], Open, SAME_LENGTH,
     "{post}content-length: {len}\r\ncontent-length: {len}\r\n\r\n{body}"),
    ("two lengths", &[400], Closed, REFUSED,
     "{post}content-length: {len}\r\ncontent-length: 5\r\n\r\n{body}{next}"),
    ("a list of lengths", &[400], Closed, REFUSED,
     "{post}content-length: {len}, {len}\r\n\r\n{body}{next}"),
    ("a length with a plus", &[400], Closed, REFUSED,
     "{post}content-length: +{len}\r\n\r\n{body}{next}"),
    ("a length with a minus", &[400], Closed, REFUSED,
     "{post}content-length: -1\r\n\r\n{body}{next}"),
    ("a length in hexadecimal", &[400], Closed, REFUSED,
     "{post}content-length: 0x{hex}\r\n\r\n{body}{next}"),
    ("a length of nothing", &[400], Closed, REFUSED,
     "{post}content-length:\r\n\r\n{body}{next}"),
    ("a length beyond 64 bits", &[400], Closed, REFUSED,
     "{post}content-length: 18446744073709551617\r\n\r\n{body}{next}"),
    ("a length with leading zeros", &[200], Open,
     "a decimal number (RFC 9110, 8.6)",
     "{post}content-length: 000{len}\r\n\r\n{body}"),
    ("a space before the colon", &[400], Closed, REFUSED,
     "{post}content-length : {len}\r\n\r\n{body}{next}"),
    ("no length and no coding", &[401, 200], Open,
     "no body (RFC 9112, 6.3), so the signature does not fit, and what follows is a request of its own",
     "{post}\r\n{next}"),
];

#[rustfmt::skip]
const CODINGS: &[Row] = &[
    ("chunks", &[200], Open, PLAIN,
     "{post}transfer-encoding: chunked\r\n\r\n{chunks}"),
    ("the coding in capitals", &[200], Open,
     "names of codings have no case (RFC 9112, 7)",
     "{post}transfer-encoding: Chunked\r\n\r\n{chunks}"),
    ("length, then chunks", &[200], Closed, CODING_DECIDES,
     "{post}content-length: {len}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{next}"),
    ("chunks, then length", &[200], Closed, CODING_DECIDES,
     "{post}transfer-encoding: chunked\r\ncontent-length: {len}\r\n\r\n{chunks}{next}"),
    ("a request in what is left when the length decides", &[401], Closed, CODING_DECIDES,
     "{post}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{next}"),
    ("a request in the chunk when the length decides", &[200], Closed, CODING_DECIDES,
     "{post}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n{hex}\r\n{body}\r\n0\r\n\r\n{next}"),
    ("the coding twice", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{next}"),
    ("the coding twice in a list", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked, chunked\r\n\r\n{chunks}{next}"),
    ("another coding before chunks", &[400], Closed, REFUSED,
     "{post}transfer-encoding: gzip, chunked\r\n\r\n{chunks}{next}"),
    ("another coding in a line of its own", &[400], Closed, REFUSED,
     "{post}transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{next}"),
    ("another coding after chunks", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked, identity\r\n\r\n{chunks}{next}"),
    ("an unknown coding", &[400], Closed, REFUSED,
     "{post}transfer-encoding: xchunked\r\n\r\n{chunks}{next}"),
    ("a coding in quotes", &[400], Closed, REFUSED,
     "{post}transfer-encoding: \"chunked\"\r\n\r\n{chunks}{next}"),
    ("a coding with a parameter", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked;q=1\r\n\r\n{chunks}{next}"),
    ("a vertical tab before the coding", &[400], Closed, REFUSED,
     "{post}transfer-encoding: \u{b}chunked\r\n\r\n{chunks}{next}"),
    ("an empty coding", &[400], Closed, REFUSED,
     "{post}transfer-encoding:\r\n\r\n{chunks}{next}"),
    ("chunks in HTTP/1.0", &[400], Closed, REFUSED,
     "POST {path} HTTP/1.0\r\n{sig}host: h\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{next}"),
];

#[rustfmt::skip]
const CHUNKS: &[Row] = &[
    ("extensions and a trailer", &[200], Open,
     "allowed (RFC 9112, 7.1), and nothing here reads them",
     "{post}transfer-encoding: chunked\r\n\r\n{hex};a=b;c=\"d\"\r\n{body}\r\n0;e\r\nx-f: g\r\n\r\n"),
    ("a length in the trailer", &[200], Open,
     "a trailer decides nothing (RFC 9110, 6.5.1)",
     "{post}transfer-encoding: chunked\r\n\r\n{hex}\r\n{body}\r\n0\r\ncontent-length: 5\r\n\r\n"),
    ("no digits", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked\r\n\r\n\r\n{body}\r\n0\r\n\r\n{next}"),
    ("no hexadecimal digits", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked\r\n\r\nxyz\r\n{body}\r\n0\r\n\r\n{next}"),
    ("a minus", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked\r\n\r\n-{hex}\r\n{body}\r\n0\r\n\r\n{next}"),
    ("a prefix", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked\r\n\r\n0x{hex}\r\n{body}\r\n0\r\n\r\n{next}"),
    ("more than 64 bits", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked\r\n\r\n100000000000000{hex}\r\n{body}\r\n0\r\n\r\n{next}"),
    ("the most that 64 bits hold", &[408], Closed,
     "memory is taken as bytes come, and the deadline ends the wait for more",
     "{post}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{body}"),
    ("a chunk longer than said", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked\r\n\r\n1\r\n{body}\r\n0\r\n\r\n{next}"),
    ("a bare line feed after the size", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked\r\n\r\n{hex}\n{body}\r\n0\r\n\r\n{next}"),
    ("a bare line feed in an extension", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked\r\n\r\n{hex};a\nb\r\n{body}\r\n0\r\n\r\n{next}"),
    ("no last chunk", &[408], Closed,
     "a body without its end is no body, however well it is signed",
     "{post}transfer-encoding: chunked\r\n\r\n{hex}\r\n{body}\r\n"),
    ("the next request for a last chunk", &[400], Closed, REFUSED,
     "{post}transfer-encoding: chunked\r\n\r\n{hex}\r\n{body}\r\n{next}"),
];

#[rustfmt::skip]
const LINES: &[Row] = &[
    ("a folded line", &[400], Closed, REFUSED,
     "{post}x-a: b\r\n c\r\ncontent-length: {len}\r\n\r\n{body}{next}"),
    ("a folded coding", &[400], Closed, REFUSED,
     "{post}transfer-encoding:\r\n chunked\r\n\r\n{chunks}{next}"),
    ("a space before the first header", &[400], Closed, REFUSED,
     "POST {path} HTTP/1.1\r\n host: h\r\n{sig}content-length: {len}\r\n\r\n{body}{next}"),
    ("a bare carriage return", &[400], Closed, REFUSED,
     "{post}x-a: b\rc\r\ncontent-length: {len}\r\n\r\n{body}{next}"),
    ("bare line feeds", &[200], Open, BARE_LF,
     "POST {path} HTTP/1.1\nhost: h\n{sig}content-length: {len}\n\n{body}"),
    ("a header behind a bare line feed", &[200], Open, BARE_LF,
     "{post}x-a: b\ncontent-length: {len}\r\n\r\n{body}"),
    ("a coding behind a bare line feed", &[401], Closed,
     "whoever forwards it reads another end than we do, and we read nothing behind ours",
     "{post}content-length: 5\r\nx-a: b\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{next}"),
    ("a NUL in a value", &[400], Closed, REFUSED,
     "{post}x-a: b\0c\r\ncontent-length: {len}\r\n\r\n{body}{next}"),
    ("a NUL in a name", &[400], Closed, REFUSED,
     "{post}x\0a: b\r\ncontent-length: {len}\r\n\r\n{body}{next}"),
    ("a NUL in the path", &[400], Closed, REFUSED,
     "POST {path}\0 HTTP/1.1\r\nhost: h\r\n{sig}content-length: {len}\r\n\r\n{body}{next}"),
    ("a line without a colon", &[400], Closed, REFUSED,
     "{post}nonsense\r\ncontent-length: {len}\r\n\r\n{body}{next}"),
    ("empty lines before the request", &[200], Open,
     "skipped (RFC 9112, 2.2)",
     "\r\n\r\n{post}content-length: {len}\r\n\r\n{body}"),
];

#[rustfmt::skip]
const HEADS: &[Row] = &[
    ("no host", &[400], Closed, REFUSED,
     "{head}content-length: {len}\r\n\r\n{body}{next}"),
    ("two hosts", &[400], Closed, REFUSED,
     "{head}host: a\r\nhost: b\r\ncontent-length: {len}\r\n\r\n{body}{next}"),
    ("the same host twice", &[400], Closed, REFUSED,
     "{post}host: h\r\ncontent-length: {len}\r\n\r\n{body}{next}"),
    ("a URL in the request line", &[200], Open,
     "to be accepted (RFC 9112, 3.2.2); its path decides, and nothing here reads a host",
     "POST http://elsewhere{path} HTTP/1.1\r\nhost: h\r\n{sig}content-length: {len}\r\n\r\n{body}"),
    ("a URL in the request line and no host", &[400], Closed, REFUSED,
     "POST http://h{path} HTTP/1.1\r\n{sig}content-length: {len}\r\n\r\n{body}{next}"),
    ("HTTP/1.0 with a host", &[200], Closed,
     "what a proxy may still speak; one request a connection",
     "POST {path} HTTP/1.0\r\nhost: h\r\n{sig}content-length: {len}\r\n\r\n{body}{next}"),
    ("HTTP/1.0 without a host", &[200], Closed,
     "that version has no host, and nothing here reads one",
     "POST {path} HTTP/1.0\r\n{sig}content-length: {len}\r\n\r\n{body}{next}"),
    ("HTTP/1.0 with two hosts", &[400], Closed, REFUSED,
     "POST {path} HTTP/1.0\r\nhost: h\r\nhost: i\r\n{sig}content-length: {len}\r\n\r\n{body}{next}"),
    ("HTTP/0.9", &[400], Closed, REFUSED,
     "GET {path}\r\n\r\n{next}"),
    ("HTTP/1.2", &[400], Closed, REFUSED,
     "POST {path} HTTP/1.2\r\nhost: h\r\n{sig}content-length: {len}\r\n\r\n{body}{next}"),
    ("HTTP/2 in the request line", &[400], Closed, REFUSED,
     "POST {path} HTTP/2.0\r\nhost: h\r\n{sig}content-length: {len}\r\n\r\n{body}{next}"),
    ("the preface of HTTP/2", &[], Closed,
     "HTTP/1.1 only; whoever sends it would not understand an answer in another version",
     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0{next}"),
    ("TLS", &[400], Closed, REFUSED,
     "\u{16}\u{3}\u{1}\0\u{1}\0\r\n\r\n{next}"),
    ("two spaces in the request line", &[400], Closed, REFUSED,
     "POST  {path} HTTP/1.1\r\nhost: h\r\n{sig}content-length: {len}\r\n\r\n{body}{next}"),
    ("a header of 300 KB", &[431], Closed,
     "a head has 16 KiB",
     "{post}content-length: {len}\r\nx-long: {long}\r\n\r\n{body}{next}"),
    ("a URL of 300 KB", &[431], Closed,
     "a head has 16 KiB",
     "POST /{long} HTTP/1.1\r\nhost: h\r\n\r\n{next}"),
    ("150 headers", &[431], Closed,
     "a head has 64 headers",
     "{post}content-length: {len}\r\n{many}\r\n{body}{next}"),
];

#[rustfmt::skip]
const MEANINGS: &[Row] = &[
    ("two requests at once", &[200, 200], Open,
     "answered in their order",
     "{post}content-length: {len}\r\n\r\n{body}{next}"),
    ("a refused one and a good one at once", &[405, 200], Open,
     "answered in their order",
     "GET {path} HTTP/1.1\r\nhost: h\r\n\r\n{next}"),
    ("a request in the body of another", &[405, 200], Open,
     "a body is skipped by its length, whatever is in it",
     "GET {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {next_len}\r\n\r\n{next}{next}"),
    ("the body does not end where the length says", &[401, 400], Closed,
     "five bytes that are not signed; the rest is no request",
     "{post}content-length: 5\r\n\r\n{body}"),
    ("an end of the connection asked for", &[200], Closed,
     "as asked",
     "{post}connection: close\r\ncontent-length: {len}\r\n\r\n{body}{next}"),
    ("an upgrade to a socket", &[200], Open, UNUSED,
     "{post}connection: upgrade\r\nupgrade: websocket\r\ncontent-length: {len}\r\n\r\n{body}"),
    ("an upgrade to HTTP/2", &[200], Open, UNUSED,
     "{post}connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\ncontent-length: {len}\r\n\r\n{body}"),
    ("a tunnel", &[404, 200], Open,
     "there is no proxy here; refused, it is a request like any other",
     "CONNECT elsewhere:80 HTTP/1.1\r\nhost: elsewhere:80\r\n\r\n{next}"),
    ("a trace", &[405], Open,
     "nothing is echoed",
     "TRACE {path} HTTP/1.1\r\nhost: h\r\n\r\n"),
    ("all of a server", &[404], Open,
     "no such path",
     "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n"),
    ("a method in small letters", &[405], Open,
     "methods have a case (RFC 9110, 9.1)",
     "post {path} HTTP/1.1\r\nhost: h\r\n{sig}content-length: {len}\r\n\r\n{body}"),
    ("an expectation, with the body at once", &[100, 200], Open,
     "the leave comes with the first look at the body",
     "{post}expect: 100-continue\r\ncontent-length: {len}\r\n\r\n{body}"),
    ("an expectation, for a body that is too large", &[413], Closed,
     "the answer that the sender waits for",
     "{post}expect: 100-continue\r\ncontent-length: 99999999\r\n\r\n"),
    ("an expectation, where nothing is", &[404], Closed,
     "the body is not asked for, so what follows could be either",
     "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: {len}\r\n\r\n"),
];

struct Sender {
    ghl: Ghl,
    bodies: u64,
}

impl Sender {
    fn body(&mut self) -> (String, String) {
        self.bodies += 1;
        let body = format!(r#"{{"type":"X","webhookId":"raw-{:04}"}}"#, self.bodies);
        let signature = self.ghl.key.sign_base64(body.as_bytes());
        (body, format!("x-ghl-signature: {signature}\r\n"))
    }

    fn request(&mut self) -> String {
        let (body, sig) = self.body();
        let length = body.len();
        format!("POST {PATH} HTTP/1.1\r\nhost: h\r\n{sig}content-length: {length}\r\n\r\n{body}")
    }

    fn fill(&mut self, template: &str) -> String {
        let (body, sig) = self.body();
        let hex = format!("{:x}", body.len());
        let mut text = template
            .replace("{post}", "{head}host: h\r\n")
            .replace("{head}", "POST {path} HTTP/1.1\r\n{sig}")
            .replace("{chunks}", "{hex}\r\n{body}\r\n0\r\n\r\n")
            .replace("{path}", PATH)
            .replace("{sig}", &sig)
            .replace("{len}", &body.len().to_string())
            .replace("{hex}", &hex)
            .replace("{body}", &body)
            .replace("{long}", &"v".repeat(300_000))
            .replace("{many}", &"x-many: v\r\n".repeat(150));
        while text.contains("{next}") {
            let next = self.request();
            text = text
                .replace("{next_len}", &next.len().to_string())
                .replacen("{next}", &next, 1);
        }
        text
    }
}

/// The answers to these bytes, and whether the connection outlived them.
async fn answers(daemon: &Daemon, bytes: &str, expected: usize) -> (Vec<u16>, Then) {
    let mut client = Client::connect(daemon.address()).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = client.write(bytes.as_bytes()).await;
    let mut found = Vec::new();
    while found.len() < expected
        && let Ok(answer) = client.answer().await
    {
        found.push(answer.status);
    }
    // Answers keep their order, so the one to this comes after any that is too many.
    let last = b"GET /last HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let _ = client.write(last).await;
    while let Ok(answer) = client.answer().await {
        found.push(answer.status);
    }
    let is_last = found.len() > expected && found.last() == Some(&404);
    if is_last {
        found.pop();
    }
    (found, if is_last { Open } else { Closed })
}

#[tokio::test]
async fn what_two_servers_could_read_differently_is_refused_or_is_one_request() {
    let url = store_url(Backend::Sqlite).await;
    // Two rows wait for it.
    let config = DaemonConfig::new(url.url()).set("http", "body_timeout = \"1s\"");
    let daemon = Daemon::start(&config).await;
    let mut sender = Sender {
        ghl: Ghl::new(),
        bodies: 0,
    };
    let mut accepted = 0;
    let mut wrong = Vec::new();
    let rows = [LENGTHS, CODINGS, CHUNKS, LINES, HEADS, MEANINGS].concat();
    for (what, expected, then_expected, policy, template) in rows {
        let bytes = sender.fill(template);
        let (found, then) = answers(&daemon, &bytes, expected.len()).await;
        accepted += found.iter().filter(|status| **status == 200).count();
        if found != expected || then != then_expected {
            wrong.push(format!(
                "{what}: {found:?} {then:?} and not {expected:?} {then_expected:?} ({policy})"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // One event for each 200: no row stored what it did not answer.
    let new = "hookwell_events_accepted_total{outcome=\"new\"}";
    assert_eq!(daemon.metric(new).await, Some(accepted as f64));
}
