//! One watcher, on a socket that takes as much as a test wants.

use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use super::{HEAD, NEVER, Script, ends, metrics, stream};
use crate::delivery::{
    HandOver,
    inbox::{Inbox, StreamWaker},
    watcher::{Desk, Next, Socket, Watcher},
};

/// What a body in chunks holds; it must be whole.
fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("a chunk's size");
        let size = usize::from_str_radix(size, 16).expect("a number");
        let (chunk, rest) = rest.split_at(size);
        body = rest.strip_prefix("\r\n").expect("the end of a chunk");
        if size == 0 {
            assert_eq!(body, "", "something behind the last chunk");
            return text;
        }
        text.push_str(chunk);
    }
}

/// A socket that takes so many bytes at a time, and then none once.
#[derive(Clone)]
struct Narrow {
    taken: Rc<RefCell<Vec<u8>>>,
    width: usize,
    is_full: Rc<RefCell<bool>>,
    writes: Rc<RefCell<usize>>,
    has_ended: Rc<RefCell<bool>>,
    /// Whether the client sends no more.
    is_half_closed: bool,
}

impl Narrow {
    fn of_width(width: usize) -> Self {
        Self {
            taken: Rc::default(),
            width,
            is_full: Rc::default(),
            writes: Rc::default(),
            has_ended: Rc::default(),
            is_half_closed: false,
        }
    }
}

impl Socket for Narrow {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut is_full = self.is_full.borrow_mut();
        *is_full = !*is_full;
        if !*is_full || self.width == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = bytes.len().min(self.width);
        self.taken.borrow_mut().extend_from_slice(&bytes[..taken]);
        *self.writes.borrow_mut() += 1;
        Ok(taken)
    }

    fn try_read(&self, _: &mut [u8]) -> io::Result<usize> {
        match self.is_half_closed {
            true => Ok(0),
            false => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.is_half_closed {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn hold_for_end(&self) {}

    fn end(&self) -> io::Result<()> {
        *self.has_ended.borrow_mut() = true;
        Ok(())
    }
}

/// A watcher with a desk, in no task.
fn watcher(socket: Narrow, script: &Script, is_chunked: bool) -> (Watcher<Narrow>, Desk) {
    let (stream, _) = stream(socket, script, is_chunked);
    in_no_task(stream)
}

fn in_no_task(stream: HandOver<Narrow>) -> (Watcher<Narrow>, Desk) {
    let waker = StreamWaker::new(Arc::new(Inbox::default()), 0);
    (Watcher::new(stream, waker), Desk::new(metrics()))
}

#[test]
fn output_is_whole_wherever_the_socket_is_full() {
    for is_chunked in [true, false] {
        for width in 1..=HEAD.len() + 40 {
            for ends_later in [true, false] {
                let script = Script::default();
                script.say("data: one\n\n");
                script.say("data: two\n\n");
                if !ends_later {
                    script.end();
                }
                let socket = Narrow::of_width(width);
                let (mut watcher, mut desk) = watcher(socket.clone(), &script, is_chunked);
                // Each turn gets a byte through at least.
                for _ in 0..200 {
                    assert_ne!(watcher.look_after(&mut desk), Next::Leaves);
                }
                script.end();
                for _ in 0..20 {
                    watcher.look_after(&mut desk);
                }
                let taken = socket.taken.borrow();
                let taken = std::str::from_utf8(&taken).expect("text");
                let body = taken.strip_prefix(HEAD).expect("the head comes first");
                let body = match is_chunked {
                    true => unchunked(body),
                    false => body.to_owned(),
                };
                assert_eq!(body, "data: one\n\ndata: two\n\n", "width {width}");
                assert!(*socket.has_ended.borrow(), "width {width}");
            }
        }
    }
}

#[test]
fn the_head_and_the_first_block_leave_in_one_write() {
    let script = Script::default();
    script.say("data: one\n\n");
    let socket = Narrow::of_width(usize::MAX);
    let (mut watcher, mut desk) = watcher(socket.clone(), &script, false);
    watcher.look_after(&mut desk);
    assert_eq!(*socket.writes.borrow(), 1);
    let taken = String::from_utf8_lossy(&socket.taken.borrow()).into_owned();
    assert_eq!(taken, format!("{HEAD}data: one\n\n"));
}

#[test]
fn whoever_sends_no_more_is_answered_first() {
    let script = Script::default();
    script.say("data: one\n\n");
    let socket = Narrow {
        is_half_closed: true,
        ..Narrow::of_width(usize::MAX)
    };
    let (mut watcher, mut desk) = watcher(socket.clone(), &script, false);
    assert_eq!(watcher.look_after(&mut desk), Next::Leaves);
    let taken = String::from_utf8_lossy(&socket.taken.borrow()).into_owned();
    assert_eq!(taken, format!("{HEAD}data: one\n\n"));
}

#[test]
fn each_watcher_gets_its_own_of_one_desk() {
    const ONE: &str = "data: one\n\n";
    const TWO: &str = "data: two\n\n";
    const HEADS: [&str; 6] = [
        "1\r\n\r\n",
        "2\r\n\r\n",
        "3\r\n\r\n",
        "4\r\n\r\n",
        "5\r\n\r\n",
        "6\r\n\r\n",
    ];
    // Neighbours that share what they are said, and some that do not; the second has a head among those without.
    let rounds: [&[(usize, &'static str)]; 5] = [
        &[(0, ONE), (2, ONE), (1, ONE), (3, ONE)],
        &[(0, ONE), (4, ONE), (2, ONE), (5, ONE), (1, ONE), (3, ONE)],
        &[(0, TWO), (2, TWO), (1, TWO), (3, ONE)],
        &[(4, TWO), (0, ONE), (1, TWO), (5, TWO), (2, ONE), (3, TWO)],
        &[(1, ONE), (3, ONE), (5, ONE), (0, TWO), (2, TWO), (4, TWO)],
    ];
    let scripts: Vec<Script> = HEADS.iter().map(|_| Script::default()).collect();
    let sockets: Vec<Narrow> = HEADS.iter().map(|_| Narrow::of_width(usize::MAX)).collect();
    let mut desk = Desk::new(metrics());
    let is_chunked = |at: usize| at.is_multiple_of(2);
    let mut watchers = Vec::new();
    for (at, head) in HEADS.iter().enumerate() {
        let (mut stream, _) = stream(sockets[at].clone(), &scripts[at], is_chunked(at));
        stream.head = head.as_bytes().into();
        watchers.push(in_no_task(stream).0);
    }
    let mut look_after = |at: usize| {
        // What the socket did not take leaves with the next look.
        while *sockets[at].is_full.borrow() {
            watchers[at].look_after(&mut desk);
        }
        assert_eq!(watchers[at].look_after(&mut desk), Next::Waits);
    };
    for (at, piece) in rounds.concat() {
        scripts[at].say(piece);
        look_after(at);
    }
    // The last pieces, of which only every other one is the last.
    for at in [0, 2, 4, 1, 3, 5] {
        scripts[at].say(ONE);
        if at == 2 || at == 3 {
            scripts[at].end();
        }
        look_after(at);
    }
    for at in 0..HEADS.len() {
        let taken = sockets[at].taken.borrow();
        let taken = std::str::from_utf8(&taken).expect("text");
        let body = taken.strip_prefix(HEADS[at]).expect("the head comes first");
        let said = rounds.concat().into_iter().filter(|(to, _)| *to == at);
        let said: String = said.map(|(_, piece)| piece).chain([ONE]).collect();
        match is_chunked(at) {
            true if at == 2 => assert_eq!(unchunked(body), said),
            true => assert_eq!(unchunked(&format!("{body}0\r\n\r\n")), said),
            false => assert_eq!(body, said),
        }
        assert_eq!(*sockets[at].has_ended.borrow(), at == 2 || at == 3);
    }
}

#[test]
fn a_stream_is_not_asked_for_more_while_its_socket_is_full() {
    let script = Script::default();
    script.say("data: one\n\n");
    let (mut watcher, mut desk) = watcher(Narrow::of_width(1), &script, true);
    assert_eq!(watcher.look_after(&mut desk), Next::Waits);
    script.say("data: two\n\n");
    let polls = script.with(|state| state.polls);
    assert_eq!(watcher.look_after(&mut desk), Next::Waits);
    assert_eq!(script.with(|state| state.polls), polls);
}

#[test]
fn what_came_while_the_socket_was_full_is_asked_for_once_it_has_room() {
    let script = Script::default();
    script.say("data: one\n\n");
    let socket = Narrow::of_width(HEAD.len() + 5);
    let (mut watcher, mut desk) = watcher(socket.clone(), &script, false);
    assert_eq!(watcher.look_after(&mut desk), Next::Waits);
    // Wakes, and so will not wake for what is said until the stream is asked again.
    script.say("data: two\n\n");
    assert_eq!(watcher.look_after(&mut desk), Next::Waits);
    assert_eq!(script.with(|state| state.polls), 2);
    assert_eq!(watcher.look_after(&mut desk), Next::Waits);
    let taken = String::from_utf8_lossy(&socket.taken.borrow()).into_owned();
    assert_eq!(taken, format!("{HEAD}data: one\n\ndata: two\n\n"));
}

#[test]
fn a_client_that_takes_nothing_is_cut_when_its_time_is_over() {
    let script = Script::default();
    script.say("data: one\n\n");
    let (mut patient, mut desk) = watcher(Narrow::of_width(0), &script, true);
    let begun = Instant::now();
    assert_eq!(patient.look_after(&mut desk), Next::Waits);
    assert!(
        patient.due() >= begun + NEVER,
        "it is looked after when its time is over"
    );

    script.say("data: two\n\n");
    let (mut stream, gone) = stream(Narrow::of_width(0), &script, true);
    stream.write_timeout = Duration::ZERO;
    let (mut hasty, mut desk) = in_no_task(stream);
    assert_eq!(hasty.look_after(&mut desk), Next::Waits);
    assert_eq!(hasty.look_after(&mut desk), Next::Leaves);
    drop(hasty);
    ends(&gone);
}

#[test]
fn a_client_that_takes_a_little_at_a_time_is_not_cut() {
    let script = Script::default();
    script.say("data: one\n\n");
    script.end();
    let socket = Narrow::of_width(1);
    let (mut stream, _gone) = stream(socket.clone(), &script, false);
    stream.write_timeout = Duration::from_millis(50);
    let (mut watcher, mut desk) = in_no_task(stream);
    let begun = Instant::now();
    while !*socket.has_ended.borrow() {
        assert_ne!(watcher.look_after(&mut desk), Next::Leaves);
        thread::sleep(Duration::from_millis(2));
    }
    assert!(begun.elapsed() > Duration::from_millis(50));
}
