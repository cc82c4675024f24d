//! Bodies that no honest server sends.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

/// Bytes of one piece of a flood.
const PIECE: u64 = 64 * 1024;

/// A response whose body fails before its first byte, so that hyper closes the connection before it
/// has written the head.
pub(super) fn hang_up() -> Response {
    Response::new(Body::from_stream(stream::once(async {
        Err::<Bytes, _>(gone())
    })))
}

/// `bytes`, then the connection ends.
pub(super) fn broken(bytes: Bytes) -> Body {
    let end = async {
        // What was handed over goes out when there is nothing more at hand.
        tokio::task::yield_now().await;
        Err(gone())
    };
    Body::from_stream(stream::once(async { Ok(bytes) }).chain(stream::once(end)))
}

/// The beginning of a record that does not end for so many bytes.
pub(super) fn flood(bytes: u64) -> Body {
    let head = Bytes::from_static(b"{\"contact\":{\"id\":\"");
    let piece = Bytes::from(vec![b'a'; usize::try_from(PIECE).unwrap_or(0)]);
    let first = u64::try_from(head.len()).unwrap_or(0).min(bytes);
    let pieces = stream::unfold((bytes, Some(head)), move |(left, head)| {
        let piece = piece.clone();
        async move {
            if left == 0 {
                return None;
            }
            let (piece, size) = match head {
                Some(head) => (head, first),
                None => (piece, left.min(PIECE)),
            };
            let piece = piece.slice(..usize::try_from(size).unwrap_or(0));
            Some((Ok::<_, std::io::Error>(piece), (left - size, None)))
        }
    });
    Body::from_stream(pieces)
}

fn gone() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, "a fault, as asked for")
}
