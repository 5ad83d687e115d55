//! Tasks with real sockets: clients that come, read, leave, and streams that go wrong.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    task::yield_now,
};

use super::{HEAD, PATIENCE, Script, Unheard, ends, metrics, stream};
use crate::delivery::Delivery;

/// A task that delivers, in a runtime as it is in the server.
struct OneTask {
    delivery: Delivery,
    runtime: Runtime,
}

impl OneTask {
    fn start() -> Self {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let delivery = runtime.block_on(async { Delivery::start(1, &metrics()) });
        Self { delivery, runtime }
    }

    /// Sockets that are connected to each other: the server's and the client's.
    fn sockets(&self) -> (tokio::net::TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("an address"));
        let client = client.expect("a connection");
        client
            .set_read_timeout(Some(PATIENCE))
            .expect("an option of every socket");
        let (server, _) = listener.accept().expect("a connection");
        server
            .set_nonblocking(true)
            .expect("an option of every socket");
        let _runtime = self.runtime.enter();
        let server = tokio::net::TcpStream::from_std(server);
        (server.expect("the runtime takes it"), client)
    }

    /// Delivers a stream of a script; the client's socket, and word of the stream's end.
    fn deliver(&self, script: &Script) -> (TcpStream, mpsc::Receiver<()>) {
        let (server, client) = self.sockets();
        let (stream, gone) = stream(server, script, false);
        self.delivery.take_over(stream);
        (client, gone)
    }
}

fn read_exactly(client: &mut TcpStream, text: &str) {
    let mut read = vec![0; text.len()];
    client
        .read_exact(&mut read)
        .expect("what was said arrives in time");
    assert_eq!(String::from_utf8_lossy(&read), text);
}

fn read_to_end(client: &mut TcpStream) -> String {
    let mut text = String::new();
    let read = client.read_to_string(&mut text);
    read.expect("the end arrives in time");
    text
}

/// Waits until there is something.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not come");
        thread::yield_now();
    }
}

#[test]
fn a_stream_is_written_as_it_comes_and_to_its_end() {
    let task = OneTask::start();
    let script = Script::default();
    let (mut client, gone) = task.deliver(&script);
    for piece in ["data: one\n\n", "data: two\n\n"] {
        script.say(piece);
        let head = if piece.contains("one") { HEAD } else { "" };
        read_exactly(&mut client, &format!("{head}{piece}"));
    }
    script.end();
    assert_eq!(read_to_end(&mut client), "");
    ends(&gone);
}

#[test]
fn many_wakes_are_one_look() {
    let task = OneTask::start();
    let script = Script::default();
    let (mut client, _gone) = task.deliver(&script);
    script.say("data: one\n\n");
    read_exactly(&mut client, &format!("{HEAD}data: one\n\n"));
    let waker = until(|| script.0.lock().expect("no panic").waker.clone());
    // Held, so that the task cannot come to look between the wakes.
    let polls = {
        let mut state = script.0.lock().expect("no panic");
        for _ in 0..1_000 {
            waker.wake_by_ref();
        }
        state.pieces.push_back("data: two\n\n");
        state.polls
    };
    read_exactly(&mut client, "data: two\n\n");
    script.say("data: three\n\n");
    read_exactly(&mut client, "data: three\n\n");
    // For each of both the piece, and word that there is no more; one look more for a socket with room again.
    let polls = script.with(|state| state.polls) - polls;
    assert!(polls <= 10, "{polls} looks");
}

#[test]
fn others_have_their_turn_while_a_crowd_is_looked_after() {
    let task = OneTask::start();
    let turns = Arc::new(AtomicUsize::new(0));
    let scripts: Vec<Script> = (0..20).map(|_| Script::default()).collect();
    let mut clients: Vec<_> = scripts.iter().map(|script| task.deliver(script)).collect();
    for (script, (client, _)) in scripts.iter().zip(&mut clients) {
        script.say("data: one\n\n");
        read_exactly(client, &format!("{HEAD}data: one\n\n"));
    }
    let other = task.runtime.spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, Ordering::SeqCst);
                yield_now().await;
            }
        }
    });
    // Without a pause, on the only processor: so all of them have something before one is looked after.
    let crowd = scripts.clone();
    let said = task.runtime.spawn(async move {
        for script in crowd {
            script.with(|state| state.watched = Some(Arc::clone(&turns)));
            script.say("data: two\n\n");
        }
    });
    task.runtime.block_on(said).expect("no panic");
    for (client, _) in &mut clients {
        read_exactly(client, "data: two\n\n");
    }
    other.abort();
    let first_counts = scripts
        .iter()
        .map(|script| script.with(|state| state.counts[0]));
    let mut counts: Vec<usize> = first_counts.collect();
    counts.sort_unstable();
    counts.dedup();
    assert_eq!(
        counts.len(),
        scripts.len(),
        "others had a turn between any two"
    );
}

#[test]
fn streams_are_looked_at_when_their_time_has_come() {
    let task = OneTask::start();
    let script = Script::default();
    script.with(|state| state.look_in = Some(Duration::from_millis(30)));
    let (mut client, _gone) = task.deliver(&script);
    read_exactly(&mut client, &format!("{HEAD}:\n:\n:\n"));
}

#[test]
fn a_client_that_leaves_ends_its_stream() {
    let task = OneTask::start();
    for how in [Some(Shutdown::Write), Some(Shutdown::Both), None] {
        let script = Script::default();
        script.say("data: one\n\n");
        let (mut client, gone) = task.deliver(&script);
        read_exactly(&mut client, &format!("{HEAD}data: one\n\n"));
        match how {
            Some(how) => client.shutdown(how).expect("a connection"),
            None => drop(client),
        }
        ends(&gone);
    }
}

#[test]
fn what_a_client_sends_is_read_away_until_it_is_too_much() {
    let task = OneTask::start();
    let script = Script::default();
    let (mut client, _gone) = task.deliver(&script);
    client
        .set_nonblocking(true)
        .expect("an option of every socket");
    let piece = [b'x'; 64 * 1024];
    // Until all buffers on the way are full, for a while: the server has had enough.
    let mut sent = 0;
    let mut refused_since = None;
    while refused_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(300)) {
        match client.write(&piece) {
            Ok(written) => {
                sent += written;
                refused_since = None;
            }
            Err(_) => {
                refused_since.get_or_insert_with(Instant::now);
                thread::yield_now();
            }
        }
        assert!(sent < 64 * 1024 * 1024, "it is read for ever");
    }
    client
        .set_nonblocking(false)
        .expect("an option of every socket");
    // The stream goes on.
    script.say("data: one\n\n");
    read_exactly(&mut client, &format!("{HEAD}data: one\n\n"));
}

#[test]
fn a_client_that_has_sent_too_much_is_seen_to_leave_when_it_is_written_to() {
    let task = OneTask::start();
    let script = Script::default();
    let (mut client, gone) = task.deliver(&script);
    script.say("data: one\n\n");
    read_exactly(&mut client, &format!("{HEAD}data: one\n\n"));
    client
        .write_all(&[b'x'; 1024 * 1024])
        .expect("buffers have room");
    drop(client);
    // Its end stands behind what nobody reads.
    until(|| {
        script.say(":\n");
        gone.try_recv()
            .err()
            .filter(|word| *word == mpsc::TryRecvError::Disconnected)
    });
}

#[test]
fn the_socket_is_closed_once_the_client_has_seen_the_end() {
    let task = OneTask::start();
    let script = Script::default();
    let (server, mut client) = task.sockets();
    let (mut stream, gone) = stream(server, &script, false);
    let (place, was_freed) = mpsc::channel::<()>();
    stream.connection = Box::new(Unheard(place));
    task.delivery.take_over(stream);
    script.say("data: one\n\n");
    script.end();
    ends(&gone);
    // The stream is over, its connection is not: there may be more to read away.
    assert_eq!(was_freed.try_recv(), Err(mpsc::TryRecvError::Empty));
    client.write_all(b"more").expect("the socket is open");
    assert_eq!(read_to_end(&mut client), format!("{HEAD}data: one\n\n"));
    drop(client);
    ends(&was_freed);
}

#[test]
fn a_panic_in_a_stream_ends_that_stream_alone() {
    let task = OneTask::start();
    let (sound, faulty) = (Script::default(), Script::default());
    let (mut client, _gone) = task.deliver(&sound);
    let (mut broken, gone) = task.deliver(&faulty);
    faulty.with(|state| state.panics = true);
    ends(&gone);
    assert_eq!(read_to_end(&mut broken), "");
    sound.say("data: one\n\n");
    read_exactly(&mut client, &format!("{HEAD}data: one\n\n"));
}

#[test]
fn a_task_that_panics_ends_its_streams_and_takes_new_ones() {
    let task = OneTask::start();
    let (before, faulty, after) = (Script::default(), Script::default(), Script::default());
    before.say("data: one\n\n");
    let (mut client, gone) = task.deliver(&before);
    read_exactly(&mut client, &format!("{HEAD}data: one\n\n"));
    let (mut broken, _gone) = task.deliver(&faulty);
    faulty.say("data: two\n\n");
    read_exactly(&mut broken, &format!("{HEAD}data: two\n\n"));
    // Not while it is welcomed: it waits already.
    until(|| faulty.0.lock().expect("no panic").waker.clone());
    faulty.with(|state| state.breaks_task = true);
    ends(&gone);
    assert_eq!(read_to_end(&mut client), "");
    assert_eq!(read_to_end(&mut broken), "");
    let (mut client, _gone) = task.deliver(&after);
    after.say("data: two\n\n");
    read_exactly(&mut client, &format!("{HEAD}data: two\n\n"));
    // It is still told when to end.
    task.runtime.block_on(task.delivery.end());
    assert_eq!(read_to_end(&mut client), "");
}

#[test]
fn a_stream_that_panics_as_it_comes_ends_alone() {
    let task = OneTask::start();
    let (sound, faulty) = (Script::default(), Script::default());
    let (mut client, _gone) = task.deliver(&sound);
    faulty.with(|state| state.panics_at_once = true);
    let (mut broken, gone) = task.deliver(&faulty);
    ends(&gone);
    assert_eq!(read_to_end(&mut broken), "");
    sound.say("data: one\n\n");
    read_exactly(&mut client, &format!("{HEAD}data: one\n\n"));
}

#[test]
fn the_end_of_the_tasks_cuts_what_is_open() {
    let task = OneTask::start();
    let script = Script::default();
    let (mut client, gone) = task.deliver(&script);
    script.say("data: one\n\n");
    read_exactly(&mut client, &format!("{HEAD}data: one\n\n"));
    task.runtime.block_on(task.delivery.end());
    ends(&gone);
    assert_eq!(read_to_end(&mut client), "");
}

#[test]
fn a_stream_that_comes_after_the_end_is_cut() {
    let task = OneTask::start();
    task.runtime.block_on(task.delivery.end());
    let script = Script::default();
    let (mut client, gone) = task.deliver(&script);
    ends(&gone);
    assert_eq!(read_to_end(&mut client), "");
}
