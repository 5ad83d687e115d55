//! What a view's blocks are called and what they hold: fields, the last block, and those of other ends.

use toml::Value;

use crate::{
    job::State,
    view::{
        Block, Control, Label, Last,
        fields::{Absent, Choice, Data, Field, Fields, Kind, Origin},
        reader::{Mistakes, Reader, json_of},
        sources::Source,
    },
};

/// A name for blocks; empty leaves them unnamed. The error completes a sentence that begins with the key.
pub(super) fn parse_label(text: &str) -> Result<Label, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if text.len() > 64 || !text.bytes().all(allowed) {
        return Err(format!(
            "must be a name of at most 64 of A-Z a-z 0-9 _ . -, or empty for blocks without one, but says {text:?}"
        ));
    }
    if text == "open" {
        // It would look like the connection's own.
        return Err("must not be \"open\", which an `EventSource` says itself".to_owned());
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

/// `fields`: a map from names to where their values are from.
pub(super) fn read_fields(table: Reader<'_>) -> Fields {
    let (key, mistakes) = (table.own_key().to_owned(), table.mistakes());
    let mut fields = Vec::new();
    for (name, value) in table.members() {
        if let Some(field) = read_field(format!("{key}.{name}"), value, mistakes) {
            fields.push((name.clone(), field));
        }
    }
    Fields(fields)
}

/// A source, or a table with `from`.
fn read_field<'t>(key: String, value: &'t Value, mistakes: &'t Mistakes<'t>) -> Option<Field> {
    let Some(table) = value.as_table() else {
        let choices = read_choices(&key, value, mistakes)?;
        return Some(Field {
            choices,
            kind: None,
            absent: Absent::Value("null".to_owned()),
        });
    };
    let reader = Reader::new(key, table, mistakes);
    let Some(from) = reader.value("from") else {
        reader.refuse("from", "must say where the value is from");
        return None;
    };
    let choices = read_choices(&reader.key("from"), from, mistakes);
    let kind = reader.parsed("type", Kind::parse);
    let is_omitted = reader.parsed("absent", |text| match text {
        "omit" => Ok(true),
        "null" => Ok(false),
        _ => Err("must be \"omit\" or \"null\"; `default` is for other values".to_owned()),
    });
    let default = reader
        .value("default")
        .map(|value| json_of(value).to_string());
    if default.is_some() && reader.has("absent") {
        reader.refuse("default", "must not stand beside `absent`");
    }
    reader.finish();
    let absent = match default {
        Some(default) => Absent::Value(default),
        None if is_omitted == Some(true) => Absent::Omitted,
        None => Absent::Value("null".to_owned()),
    };
    Some(Field {
        choices: choices?,
        kind,
        absent,
    })
}

/// One source, or a list of which the first counts that has a value.
fn read_choices(key: &str, value: &Value, mistakes: &Mistakes<'_>) -> Option<Vec<Choice>> {
    match value {
        Value::String(text) => {
            let from = read_source(key, text, mistakes)?;
            let states = Vec::new();
            Some(vec![Choice { from, states }])
        }
        Value::Array(entries) if !entries.is_empty() => {
            let entries = entries.iter().enumerate();
            let choices: Vec<_> = entries
                .map(|(index, entry)| read_choice(format!("{key}[{index}]"), entry, mistakes))
                .collect();
            choices.into_iter().collect()
        }
        _ => {
            mistakes.note(
                key,
                "must be a source, such as \"data.score\", or a list of them",
            );
            None
        }
    }
}

fn read_choice(key: String, value: &Value, mistakes: &Mistakes<'_>) -> Option<Choice> {
    if let Some(text) = value.as_str() {
        let from = read_source(&key, text, mistakes)?;
        let states = Vec::new();
        return Some(Choice { from, states });
    }
    let Some(table) = value.as_table() else {
        mistakes.note(&key, "must be a source, or a table with `path` or `value`");
        return None;
    };
    let reader = Reader::new(key, table, mistakes);
    let path = reader.text("path");
    let constant = reader.value("value");
    let states = read_in(&reader);
    let from = match (path, constant) {
        (Some(path), None) => read_source(&reader.key("path"), path, mistakes),
        (None, Some(constant)) => Some(Origin::Constant(json_of(constant).to_string())),
        _ => {
            reader.refuse_all("must have either `path` or `value`");
            None
        }
    };
    reader.finish();
    Some(Choice {
        from: from?,
        states,
    })
}

fn read_source(key: &str, text: &str, mistakes: &Mistakes<'_>) -> Option<Origin> {
    match Source::parse(text) {
        Ok(source) => Some(Origin::Status(source)),
        Err(rule) => {
            mistakes.note(key, &rule);
            None
        }
    }
}

/// `in`: the states in which something counts; empty is all.
fn read_in(reader: &Reader<'_>) -> Vec<State> {
    let names = reader.texts("in").unwrap_or_default();
    let mut states = Vec::new();
    for name in names {
        match State::parse(name) {
            Ok(state) => states.push(state),
            Err(rule) => reader.refuse("in", &format!("{rule}, but says {name:?}")),
        }
    }
    states
}

/// `final`: the block that ends a finished job's stream.
pub(super) fn read_last(reader: &Reader<'_>) -> Option<Last> {
    let reader = reader.table("final")?;
    let label = reader.parsed("event", parse_label);
    if !reader.has("event") {
        reader.refuse(
            "event",
            "must name the last block, or be empty for one without a name",
        );
    }
    let mut states = read_in(&reader);
    if let Some(state) = states.iter().find(|state| !state.is_terminal()) {
        reader.refuse(
            "in",
            &format!("must name states in which a job ends, but says \"{state}\""),
        );
    }
    if states.is_empty() {
        states = State::ALL
            .into_iter()
            .filter(|state| state.is_terminal())
            .collect();
    }
    let fields = reader.table("fields").map(read_fields);
    let data = reader.value("data");
    let data = data.and_then(|data| read_field(reader.key("data"), data, reader.mistakes()));
    if reader.has("fields") == reader.has("data") {
        reader.refuse_all("must have either `fields` or `data`");
    }
    reader.finish();
    let data = match (fields, data) {
        (Some(fields), None) => Data::Fields(fields),
        (None, Some(field)) => Data::Value(field),
        _ => return None,
    };
    Some(Last {
        label: label?,
        data,
        states,
    })
}

/// `control`: the blocks of other ends; what is left out is not told.
pub(super) fn read_control(reader: &Reader<'_>) -> [Option<Block>; Control::ALL.len()] {
    let mut blocks = [const { None }; Control::ALL.len()];
    let Some(table) = reader.table("control") else {
        return blocks;
    };
    for control in Control::ALL {
        blocks[control as usize] = table.table(control.as_str()).and_then(read_block);
    }
    table.finish();
    blocks
}

fn read_block(reader: Reader<'_>) -> Option<Block> {
    let label = reader.parsed("event", parse_label);
    let data = reader.value("data");
    for (name, rule) in [
        (
            "event",
            "must name the block, or be empty for one without a name",
        ),
        ("data", "must be what the block says"),
    ] {
        if !reader.has(name) {
            reader.refuse(name, rule);
        }
    }
    reader.finish();
    Some(Block {
        label: label?,
        data: json_of(data?).to_string(),
    })
}
