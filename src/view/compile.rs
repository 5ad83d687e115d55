//! From tables of the configuration to views; what is wrong with them is said in sentences that name the key.

mod blocks;
mod places;

use std::{collections::BTreeMap, sync::Arc};

use toml::Table;

use super::{
    View, Views, Words,
    fields::Fields,
    paths::Template,
    reader::{Mistakes, Reader},
};
use crate::job::{EventName, State};

/// A view as it stands in the configuration.
#[derive(Debug, Clone)]
pub struct Definition {
    /// What it is called: `[views.NAME]`.
    pub name: String,
    /// The table.
    pub table: Table,
    /// Where it was read, as a noun of a sentence.
    pub origin: String,
}

/// Compiles views that are to stand beside each other.
///
/// # Errors
/// Every mistake, a sentence each.
pub fn compile(definitions: &[Definition]) -> Result<Views, Vec<String>> {
    let mut problems = Vec::new();
    let mut views: Vec<Arc<View>> = Vec::new();
    for definition in definitions {
        let mistakes = Mistakes::new(&definition.origin);
        let key = format!("views.{}", definition.name);
        let reader = Reader::new(key, &definition.table, &mistakes);
        let view = read_view(&definition.name, reader);
        if mistakes.is_empty() {
            refuse_taken_paths(&views, &view, &mistakes);
        }
        if mistakes.is_empty() {
            views.push(Arc::new(view));
        }
        problems.extend(mistakes.into_sentences());
    }
    if problems.is_empty() {
        Ok(Views::new(views))
    } else {
        Err(problems)
    }
}

fn read_view(name: &str, reader: Reader<'_>) -> View {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(is_name) {
        reader.refuse_all("must be called by 1 to 64 of A-Z a-z 0-9 _ -");
    }
    let kinds = reader.texts("kinds").unwrap_or_default();
    if !reader.has("kinds") {
        reader.refuse("kinds", "must name the kinds of job that the view shows");
    }
    let is_public = one_of(&reader, "access", ["as_usual", "public"]) == 1;
    let has_status = one_of(&reader, "status", ["blocks", "none"]) == 0;
    let replays_all = one_of(&reader, "replay", ["missed", "all"]) == 1;
    let label = reader.parsed("event", blocks::parse_label).flatten();
    if !has_status && reader.has("event") {
        reader.refuse(
            "event",
            "names blocks that a view with `status = \"none\"` does not send",
        );
    }
    let places = places::read(&reader, is_public);
    let fields = read_fields(&reader, "fields");
    if has_status && fields.is_none() {
        reader.refuse("fields", "must say what a status block holds");
    }
    let poll_fields = read_fields(&reader, "poll_fields");
    let has_poll = places.iter().any(|place| place.status.is_some());
    if has_poll && fields.is_none() && poll_fields.is_none() {
        reader.refuse("poll_fields", "must say what the answer to a poll holds");
    }
    let fields = fields.unwrap_or_default();
    let events = read_events(&reader);
    let last = blocks::read_last(&reader);
    let control = blocks::read_control(&reader);
    let tells_states = fields.tell_states()
        || poll_fields.as_ref().is_some_and(Fields::tell_states)
        || last.as_ref().is_some_and(|last| last.data.tells_states());
    let states = read_states(&reader, tells_states);
    reader.finish();
    View {
        name: name.to_owned(),
        kinds: kinds.into_iter().map(str::to_owned).collect(),
        is_public,
        places,
        has_status,
        replays_all,
        label,
        states,
        fields,
        poll_fields,
        events,
        last,
        control,
    }
}

/// Which of the words is written; the first when none is.
fn one_of(reader: &Reader<'_>, name: &'static str, words: [&str; 2]) -> usize {
    let parse = |text: &str| {
        let place = words.iter().position(|word| *word == text);
        place.ok_or_else(|| {
            let [one, other] = words;
            format!("must be {one:?} or {other:?}, but says {text:?}")
        })
    };
    reader.parsed(name, parse).unwrap_or_default()
}

fn read_fields(reader: &Reader<'_>, name: &'static str) -> Option<Fields> {
    let table = reader.table(name)?;
    Some(blocks::read_fields(table))
}

/// The map of states, which must be total wherever a field tells the state.
fn read_states(reader: &Reader<'_>, is_needed: bool) -> Words {
    let mut words = BTreeMap::new();
    let Some(table) = reader.table("states") else {
        if is_needed {
            let rule =
                "must have a word for each of pending, processing, completed, failed and cancelled";
            reader.refuse("states", rule);
        }
        return Words::default();
    };
    for state in State::ALL {
        match table.text(state.as_str()) {
            Some(word) => {
                words.insert(state, word.to_owned());
            }
            None if !table.has(state.as_str()) => {
                table.refuse(state.as_str(), "must be the view's word for this state");
            }
            None => {}
        }
    }
    table.finish();
    Words(words)
}

/// What becomes of events: the worker's name for one, and the view's.
fn read_events(reader: &Reader<'_>) -> BTreeMap<String, super::Label> {
    let mut events = BTreeMap::new();
    let Some(table) = reader.table("events") else {
        return events;
    };
    let (key, mistakes) = (table.own_key().to_owned(), table.mistakes());
    for (name, label) in table.members() {
        let key = format!("{key}.{name}");
        if let Err(rule) = EventName::parse(name) {
            mistakes.note(
                &key,
                &format!("is no name that a worker can give an event: it {rule}"),
            );
        }
        match label.as_str().map(blocks::parse_label) {
            Some(Ok(label)) => {
                events.insert(name.clone(), label);
            }
            Some(Err(rule)) => mistakes.note(&key, &rule),
            None => mistakes.note(&key, "must be a string: the view's name for the event"),
        }
    }
    events
}

/// A path belongs to one view, and to one place of it.
fn refuse_taken_paths(others: &[Arc<View>], view: &View, mistakes: &Mistakes<'_>) {
    let mut taken: Vec<(&str, &Template)> = Vec::new();
    for other in others {
        let paths = other.places.iter().flat_map(|place| place.paths());
        taken.extend(paths.map(|path| (other.name(), path)));
    }
    for (index, place) in view.places.iter().enumerate() {
        for path in place.paths() {
            if let Some((owner, _)) = taken.iter().find(|(_, known)| known.is_same(path)) {
                let key = format!("views.{}.paths[{index}]", view.name);
                let rule = format!(
                    "must be a path of its own: {} is one of `views.{owner}` already",
                    path.as_str()
                );
                mistakes.note(&key, &rule);
            }
            taken.push((&view.name, path));
        }
    }
}
