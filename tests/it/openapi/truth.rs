//! Holds what a server says against what the document says of it.

use std::collections::BTreeSet;

use jsonschema::Validator;
use progressd::http::openapi;
use serde_json::{Value, json};

use crate::support::{server::Answer, sse::Block};

/// The document, and which of its answers have been seen.
pub(super) struct Truth {
    document: Value,
    seen: BTreeSet<String>,
}

impl Truth {
    pub(super) fn new() -> Self {
        Self {
            document: document(),
            seen: BTreeSet::new(),
        }
    }

    /// Checks status, headers, media type and body of a call's answer. `call` is `GET /jobs/{id}`.
    #[track_caller]
    pub(super) fn check(&mut self, call: &str, answer: &Answer) {
        let place = format!("{call} {}", answer.status.as_u16());
        let described = self.answer(call, answer.status.as_u16());
        let headers = described["headers"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        for (name, header) in headers {
            let header = resolve(&self.document, &header).clone();
            if let Some(text) = answer.header(&name) {
                // Numbers are written as texts.
                let value = text
                    .parse::<u64>()
                    .map_or(json!(text), |number| json!(number));
                let value = if header["schema"]["type"] == "string" {
                    json!(text)
                } else {
                    value
                };
                self.must_fit(
                    &header["schema"],
                    &value,
                    &format!("{place}, header {name}"),
                );
            }
        }
        assert!(answer.header("x-request-id").is_some(), "{place}");
        let contents = described["content"].as_object().cloned();
        match (answer.header("content-type"), contents) {
            (None, None) => assert_eq!(answer.text, "", "{place}"),
            (Some(media_type), Some(contents)) => {
                let essence = media_type.split(';').next().unwrap_or_default();
                let content = contents
                    .get(essence)
                    .unwrap_or_else(|| panic!("{place}: {essence} is not described"));
                self.check_body(content, essence, &answer.text, &place);
                self.seen.insert(format!("{place} {essence}"));
            }
            (media_type, contents) => panic!("{place}: {media_type:?}, described {contents:?}"),
        }
        self.seen.insert(place);
    }

    /// The schema of that name must take the value.
    #[track_caller]
    pub(super) fn must_fit_named(&self, name: &str, value: &Value) {
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        self.must_fit(&schema, value, name);
    }

    /// Whether the schema of that name takes the value.
    pub(super) fn fits_named(&self, name: &str, value: &Value) -> bool {
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        self.validator(&schema).is_valid(value)
    }

    /// Checks a block of a stream, of one job or of many, and the JSON in it.
    #[track_caller]
    pub(super) fn check_block(&self, stream: &str, sort: &str, block: &Block) {
        let mut value = json!({"event": block.event, "data": block.data});
        if let Some(retry) = block.retry {
            value["retry"] = json!(retry);
        }
        if let Some(id) = &block.id {
            value["id"] = json!(id);
        }
        self.must_fit_named(stream, &value);
        self.must_fit_named(sort, &value);
        let data = self.document["components"]["schemas"][sort]["properties"]["data"].clone();
        assert_eq!(data["contentMediaType"], "application/json");
        self.must_fit(
            &data["contentSchema"],
            &block.json(),
            &format!("data of {sort}"),
        );
    }

    /// Every answer that is no error, and has not been seen.
    pub(super) fn unseen_successes(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for (path, item) in self.document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("calls") {
                for (status, answer) in operation["responses"].as_object().expect("answers") {
                    let call = format!("{} {path} {status}", method.to_uppercase());
                    let contents = answer["content"].as_object();
                    let types: Vec<_> = contents.into_iter().flatten().collect();
                    if status.as_str() >= "400" {
                        continue;
                    }
                    all.extend(types.iter().map(|(name, _)| format!("{call} {name}")));
                    all.insert(call);
                }
            }
        }
        all.difference(&self.seen).cloned().collect()
    }

    fn answer(&self, call: &str, status: u16) -> Value {
        let (method, path) = call.split_once(' ').expect("a method and a path");
        let operation = &self.document["paths"][path][method.to_lowercase()];
        assert!(operation.is_object(), "{call} is not described");
        let answer = &operation["responses"][status.to_string()];
        assert!(answer.is_object(), "{call} does not describe {status}");
        resolve(&self.document, answer).clone()
    }

    fn check_body(&self, content: &Value, media_type: &str, text: &str, place: &str) {
        match media_type {
            "application/json" => {
                let value =
                    serde_json::from_str(text).unwrap_or_else(|error| panic!("{place}: {error}"));
                self.must_fit(&content["schema"], &value, place);
            }
            "application/x-ndjson" => {
                for line in text.lines() {
                    let value = serde_json::from_str(line)
                        .unwrap_or_else(|error| panic!("{place}: {error}"));
                    self.must_fit(&content["x-itemSchema"], &value, place);
                }
            }
            // Blocks are checked by their sorts.
            _ => self.must_fit(&content["schema"], &json!(text), place),
        }
    }

    #[track_caller]
    fn must_fit(&self, schema: &Value, value: &Value, place: &str) {
        let validator = self.validator(schema);
        let errors: Vec<_> = validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{place}: {errors:#?}\n{value:#}");
    }

    fn validator(&self, schema: &Value) -> Validator {
        let mut root = schema.as_object().cloned().expect("a schema is an object");
        root.insert("components".to_owned(), self.document["components"].clone());
        jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&Value::Object(root))
            .unwrap_or_else(|error| panic!("{schema}: {error}"))
    }
}

/// The document of this build.
pub(super) fn document() -> Value {
    serde_json::from_str(openapi::document()).expect("the document is JSON")
}

/// What a reference within the document means, or the value itself.
#[track_caller]
pub(super) fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference
                .strip_prefix('#')
                .expect("a reference within the document");
            document
                .pointer(pointer)
                .unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
        None => value,
    }
}
