//! Reading a table of the configuration key by key; every mistake becomes a sentence that names the key.

use std::cell::RefCell;

use serde_json::Value as Json;
use toml::{Table, Value};

/// How alike two names must be, from 0 to 1, for the one to be offered when the other was written.
const LIKENESS: f64 = 0.6;

/// The mistakes of one view, and where it was read.
pub(super) struct Mistakes<'o> {
    origin: &'o str,
    sentences: RefCell<Vec<String>>,
}

/// A table that is being read. Once all its keys were asked for, [`Reader::finish`] reports the others.
pub(super) struct Reader<'t> {
    key: String,
    table: &'t Table,
    asked: RefCell<Vec<&'static str>>,
    mistakes: &'t Mistakes<'t>,
}

impl<'o> Mistakes<'o> {
    pub(super) fn new(origin: &'o str) -> Self {
        Self {
            origin,
            sentences: RefCell::default(),
        }
    }

    /// Notes what the key must be: `rule` completes the sentence.
    pub(super) fn note(&self, key: &str, rule: &str) {
        let sentence = format!("`{key}` in {} {rule}", self.origin);
        self.sentences.borrow_mut().push(sentence);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sentences.borrow().is_empty()
    }

    pub(super) fn into_sentences(self) -> Vec<String> {
        self.sentences.into_inner()
    }
}

impl<'t> Reader<'t> {
    pub(super) fn new(key: String, table: &'t Table, mistakes: &'t Mistakes<'t>) -> Self {
        Self {
            key,
            table,
            asked: RefCell::default(),
            mistakes,
        }
    }

    /// The whole key of a member.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.key)
    }

    /// The key of the table itself.
    pub(super) fn own_key(&self) -> &str {
        &self.key
    }

    pub(super) fn mistakes(&self) -> &'t Mistakes<'t> {
        self.mistakes
    }

    /// Notes a mistake in a member.
    pub(super) fn refuse(&self, name: &str, rule: &str) {
        self.mistakes.note(&self.key(name), rule);
    }

    /// Notes a mistake in the table.
    pub(super) fn refuse_all(&self, rule: &str) {
        self.mistakes.note(&self.key, rule);
    }

    /// Whether the table has the member.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// The member, which is thereby known.
    pub(super) fn value(&self, name: &'static str) -> Option<&'t Value> {
        self.asked.borrow_mut().push(name);
        self.table.get(name)
    }

    /// All members in their order: the table is a map, whose names are the operator's.
    pub(super) fn members(self) -> impl Iterator<Item = (&'t String, &'t Value)> {
        self.table.iter()
    }

    pub(super) fn text(&self, name: &'static str) -> Option<&'t str> {
        let value = self.value(name)?;
        if value.as_str().is_none() {
            self.refuse(name, "must be a string");
        }
        value.as_str()
    }

    /// A string that `parse` takes.
    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(self.text(name)?) {
            Ok(parsed) => Some(parsed),
            Err(rule) => {
                self.refuse(name, &rule);
                None
            }
        }
    }

    /// True or false; false when it is left out.
    pub(super) fn switch(&self, name: &'static str) -> bool {
        let Some(value) = self.value(name) else {
            return false;
        };
        if value.as_bool().is_none() {
            self.refuse(name, "must be true or false");
        }
        value.as_bool().unwrap_or_default()
    }

    /// A list of strings, with one at least.
    pub(super) fn texts(&self, name: &'static str) -> Option<Vec<&'t str>> {
        let texts = self.value(name)?.as_array().and_then(|entries| {
            let texts: Option<Vec<_>> = entries.iter().map(Value::as_str).collect();
            texts.filter(|texts| !texts.is_empty())
        });
        if texts.is_none() {
            self.refuse(name, "must be a list of strings, with one at least");
        }
        texts
    }

    /// A table within.
    pub(super) fn table(&self, name: &'static str) -> Option<Self> {
        let value = self.value(name)?;
        self.inner(self.key(name), value)
    }

    /// A value that must be a table.
    pub(super) fn inner(&self, key: String, value: &'t Value) -> Option<Self> {
        match value.as_table() {
            Some(table) => Some(Self::new(key, table, self.mistakes)),
            None => {
                self.mistakes.note(&key, "must be a table");
                None
            }
        }
    }

    /// A list of tables.
    pub(super) fn tables(&self, name: &'static str) -> Vec<Self> {
        let Some(value) = self.value(name) else {
            return Vec::new();
        };
        let Some(entries) = value.as_array() else {
            let rule = format!("must be a list of tables: write `[[{}]]`", self.key(name));
            self.refuse(name, &rule);
            return Vec::new();
        };
        let readers = entries.iter().enumerate();
        let readers = readers
            .filter_map(|(index, entry)| self.inner(format!("{}[{index}]", self.key(name)), entry));
        readers.collect()
    }

    /// Reports every member that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for name in self
            .table
            .keys()
            .filter(|name| !asked.contains(&name.as_str()))
        {
            let likeness =
                |known: &&'static str| strsim::normalized_damerau_levenshtein(known, name);
            let best = asked.iter().copied();
            let best = best.max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
            match best.filter(|best| likeness(best) > LIKENESS) {
                Some(best) => {
                    self.refuse(name, &format!("is an unknown key: did you mean `{best}`?"))
                }
                None => self.refuse(name, "is an unknown key"),
            }
        }
    }
}

/// A value of the configuration as JSON, a date as its text.
pub(super) fn json_of(value: &Value) -> Json {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(is_it) => (*is_it).into(),
        Value::Datetime(time) => time.to_string().into(),
        Value::Array(entries) => entries.iter().map(json_of).collect(),
        Value::Table(members) => {
            let members = members.iter();
            members
                .map(|(name, value)| (name.clone(), json_of(value)))
                .collect()
        }
    }
}
