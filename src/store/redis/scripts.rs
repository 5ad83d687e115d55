//! The scripts that Redis runs: each is the whole of one change, so that nobody sees half of it.
//!
//! Their first line makes Redis look before it begins whether it may change anything. Without one
//! it would look at the single commands, and, once one of them has freed memory, at none any more:
//! a script would be half done, or done beyond `maxmemory`. Those that put nothing new, and the
//! claims of nodes, are done also when the memory is full (`allow-oom`).

use redis::{Cmd, Pipeline, Script, ToRedisArgs, cmd};

/// All of them.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) commit: Script,
    pub(super) create: Script,
    pub(super) restore: Script,
    pub(super) remove: Script,
    pub(super) claim: Script,
    pub(super) release: Script,
    pub(super) holds: Script,
    pub(super) put: Script,
    pub(super) deadline: Script,
    pub(super) postpone: Script,
    pub(super) consumers: Script,
    pub(super) entries: Script,
    pub(super) ping: Script,
}

/// The text of each, in the order of the fields above.
const SOURCES: [&str; 13] = [
    include_str!("commit.lua"),
    include_str!("create.lua"),
    include_str!("restore.lua"),
    include_str!("remove.lua"),
    include_str!("claim.lua"),
    include_str!("release.lua"),
    include_str!("holds.lua"),
    include_str!("put.lua"),
    include_str!("deadline.lua"),
    include_str!("postpone.lua"),
    include_str!("consumers.lua"),
    include_str!("entries.lua"),
    include_str!("ping.lua"),
];

impl Scripts {
    pub(super) fn new() -> Self {
        let [
            commit,
            create,
            restore,
            remove,
            claim,
            release,
            holds,
            put,
            deadline,
            postpone,
            consumers,
            entries,
            ping,
        ] = SOURCES.map(Script::new);
        Self {
            commit,
            create,
            restore,
            remove,
            claim,
            release,
            holds,
            put,
            deadline,
            postpone,
            consumers,
            entries,
            ping,
        }
    }

    /// Has Redis keep all of them: afterwards a script is called by its hash.
    pub(super) fn load() -> Pipeline {
        let mut pipeline = redis::pipe();
        for source in SOURCES {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(source).ignore();
        }
        pipeline
    }
}

/// The call of a script with these keys; its arguments are to follow.
pub(super) fn call(script: &Script, keys: &[impl ToRedisArgs]) -> Cmd {
    let mut call = cmd("EVALSHA");
    call.arg(script.get_hash()).arg(keys.len());
    for key in keys {
        call.arg(key);
    }
    call
}
