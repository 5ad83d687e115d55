//! The yardstick: a loop that does nothing but `send` to every socket.

use std::{
    io::{BufRead as _, Write as _, stdin},
    net::TcpListener,
    process::Command,
};

use anyhow::Context as _;

use crate::{process::Process, watchers::Watchers};

/// CPU seconds that the bare loop needs for as many deliveries of as many bytes.
pub(crate) async fn measure(
    watchers: usize,
    rounds: usize,
    frame_bytes: usize,
) -> anyhow::Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--bare", &frame_bytes.to_string()]);
    let mut process = Process::start(&mut command)?;
    let mut orders = process.child().stdin.take().context("the child's input")?;
    // The first order accepts everybody, while they connect; its block is not counted.
    writeln!(orders, "{watchers}")?;
    let connections = Watchers::open(&process.address(), "/", watchers).await?;
    connections.wait_for(1).await?;
    let cpu_before = process.cpu_seconds()?;
    for round in 0..rounds {
        writeln!(orders, "{watchers}")?;
        connections.wait_for(round + 2).await?;
    }
    Ok(process.cpu_seconds()? - cpu_before)
}

/// Accepts as many connections as the first line of the input says, then sends each a block per line.
pub(crate) fn serve(frame_bytes: usize) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut block = vec![b'x'; frame_bytes.saturating_sub(7)];
    block.extend_from_slice(b"\nid: 1\n");
    let mut sockets = Vec::new();
    for line in stdin().lock().lines() {
        let watchers: usize = line?.trim().parse()?;
        while sockets.len() < watchers {
            let (socket, _) = listener.accept()?;
            socket.set_nodelay(true)?;
            sockets.push(socket);
        }
        for socket in &mut sockets {
            socket.write_all(&block)?;
        }
    }
    Ok(())
}
