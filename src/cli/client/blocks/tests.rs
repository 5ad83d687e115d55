//! Streams in every cut, with a mark at their beginning, without an end.

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// The blocks of a body that comes in these pieces.
async fn read(pieces: Vec<Vec<u8>>) -> Result<Vec<Block>, Broken> {
    let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let response = Response::from(hyper::Response::new(body));
    let mut blocks = Blocks::of(response, PATIENCE, PATIENCE);
    let mut read = Vec::new();
    while let Some(block) = blocks.next().await? {
        read.push(block);
    }
    Ok(read)
}

fn block(event: &str, data: &str, retry: Option<u64>, id: Option<&str>) -> Block {
    Block {
        event: event.to_owned(),
        data: data.to_owned(),
        retry: retry.map(Duration::from_millis),
        id: id.map(str::to_owned),
    }
}

#[tokio::test]
async fn blocks_are_the_same_in_every_cut_with_and_without_a_mark() {
    let text = "event: status\ndata: {\"a\":\"é\"}\nretry: 5000\nid: 7\n\n:\nevent: log\r\ndata: 1\r\n\r\ndata: x\nid: 8\n\n";
    let expected = [
        block("status", "{\"a\":\"é\"}", Some(5_000), Some("7")),
        block("log", "1", None, None),
        block("message", "x", None, Some("8")),
    ];
    for mark in ["", "\u{feff}"] {
        let bytes = format!("{mark}{text}").into_bytes();
        for cut in 0..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            let blocks = read(vec![head.to_vec(), tail.to_vec()]).await;
            assert_eq!(blocks.expect("a stream"), expected, "cut at {cut}");
        }
        let each = bytes.iter().map(|byte| vec![*byte]).collect();
        assert_eq!(read(each).await.expect("a stream"), expected);
    }
}

#[tokio::test]
async fn a_block_without_an_end_is_not_held_for_ever() {
    let mut pieces = vec![b"data: ".to_vec()];
    pieces.resize(20, vec![b'x'; 1 << 20]);
    assert!(matches!(read(pieces).await, Err(Broken::Garbled)));
    assert!(matches!(
        read(vec![b"data: \xff\n\n".to_vec()]).await,
        Err(Broken::Garbled)
    ));
}

#[test]
fn the_patience_is_learned_from_heartbeats_alone() {
    let mut line = Line {
        pieces: 0,
        unread: 0,
        first: Duration::from_secs(10),
        patience: Duration::from_secs(45),
    };
    assert_eq!(line.limit(), Duration::from_secs(10));
    for (piece, after, limit) in [
        (&b"data: 1\n\n"[..], 1, 45),
        (b"data: 2\n\n", 3, 45),
        (HEARTBEAT, 9, 15),
        (b"data: 3\n\n", 14, 15),
        (HEARTBEAT, 27, 45),
        (HEARTBEAT, 1, 5),
    ] {
        let heard = line.heard(piece, Duration::from_secs(after));
        heard.expect("a short piece");
        assert_eq!(line.limit().as_secs_f64().round() as u64, limit);
    }
}
