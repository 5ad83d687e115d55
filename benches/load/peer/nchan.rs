//! Nchan in nginx, on a configuration of its own: `benches/peers/nchan.conf`.

use std::fs;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{
    mark::Template,
    peer::{Dialect, Message, Server, request, stream_headers},
    process::{Process, free_address},
};

const CONFIGURATION: &str = include_str!("../../peers/nchan.conf");

pub(super) fn start(
    template: &Template,
    folder: TempDir,
    core: Option<usize>,
) -> anyhow::Result<Server> {
    let address = free_address()?;
    let place = folder.path().to_str().context("a path in UTF-8")?;
    let config = CONFIGURATION
        .replace("@folder@", place)
        .replace("@address@", &address.to_string());
    let file = folder.path().join("nginx.conf");
    fs::write(&file, config)?;
    let file = file.to_str().context("a path in UTF-8")?;
    let mut process = Process::start("nginx", &["-p", place, "-c", file], core, None)?;
    process.wait_for(address)?;
    Ok(Server {
        process,
        watch_address: address,
        publish_address: address,
        dialect: Box::new(Channels(template.clone())),
        token: None,
        _folder: Some(folder),
    })
}

struct Channels(Template);

impl Dialect for Channels {
    fn watch(&self, channel: u32, last_id: Option<&str>) -> Vec<u8> {
        let path = format!("/watch/{channel}");
        request("GET", &path, &stream_headers(last_id), "")
    }

    fn publish(&self, messages: &[Message]) -> Vec<u8> {
        let requests = messages.iter().flat_map(|message| {
            let path = format!("/publish/{}", message.channel);
            request("POST", &path, "", &self.0.fill(message.mark))
        });
        requests.collect()
    }
}
