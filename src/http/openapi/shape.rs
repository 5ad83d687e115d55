//! Short ways to build the schemas of the document.

use serde_json::{Value, json};
use utoipa::openapi::{
    Array, ArrayBuilder, KnownFormat, Object, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema,
    SchemaFormat,
    extensions::Extensions,
    schema::{AdditionalProperties, AnyOfBuilder, SchemaType, Type},
};

use crate::job::Count;

/// What no text may have in it: a NUL, which some stores cannot hold.
const NO_NUL: &str = r"^[^\u0000]*$";

/// An object that is being described.
pub(super) struct Shape(ObjectBuilder);

/// Begins the description of an object.
pub(super) fn shape(description: &str) -> Shape {
    let object = ObjectBuilder::new().schema_type(Type::Object);
    Shape(object.description(Some(description)))
}

impl Shape {
    /// A field that is always there.
    pub(super) fn always(self, name: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        Self(self.0.property(name, schema).required(name))
    }

    /// A field that may be left out.
    pub(super) fn maybe(self, name: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        Self(self.0.property(name, schema))
    }

    /// Fields with any other name.
    pub(super) fn others(self, schema: Object) -> Self {
        let schema = AdditionalProperties::from(Schema::from(schema));
        Self(self.0.additional_properties(Some(schema)))
    }

    /// No other fields.
    pub(super) fn closed(self) -> Self {
        let none = AdditionalProperties::<Schema>::FreeForm(false);
        Self(self.0.additional_properties(Some(none)))
    }

    /// Two fields of which one request has at most one.
    pub(super) fn not_both(self, one: &str, other: &str) -> Self {
        Self(
            self.0
                .extensions(keyword("not", json!({"required": [one, other]}))),
        )
    }

    /// What it looks like.
    pub(super) fn example(self, example: Value) -> Self {
        Self(self.0.examples([example]))
    }

    /// The finished schema.
    pub(super) fn build(self) -> Schema {
        Schema::Object(self.0.build())
    }
}

/// A reference to a named schema.
pub(super) fn named(name: &str) -> RefOr<Schema> {
    Ref::from_schema_name(name).into()
}

/// A text of `least` to `most` characters.
pub(super) fn text(description: &str, least: usize, most: usize) -> Object {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .max_length(Some(most))
        .pattern(Some(NO_NUL));
    match least {
        0 => text.build(),
        least => text.min_length(Some(least)).build(),
    }
}

/// A text of a form.
pub(super) fn pattern(description: &str, pattern: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .pattern(Some(pattern))
        .build()
}

/// Any text.
pub(super) fn words(description: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .build()
}

/// One of a few words.
pub(super) fn one_of_words<'a>(
    description: &str,
    words: impl IntoIterator<Item = &'a str>,
) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(words))
        .build()
}

/// A whole number.
pub(super) fn integer(description: &str, least: u64, most: u64) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .description(Some(description))
        .minimum(Some(least as usize))
        .maximum(Some(most as usize))
        .build()
}

/// A count of units.
pub(super) fn count(description: &str) -> Object {
    integer(description, 0, Count::MAX)
}

/// A number that may have a fraction, from 0.
pub(super) fn number(description: &str, most: Option<f64>) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .description(Some(description))
        .minimum(Some(0_usize))
        .maximum(most)
        .build()
}

/// Yes or no.
pub(super) fn flag(description: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .description(Some(description))
        .build()
}

/// A moment, as RFC 3339 writes it.
pub(super) fn moment(description: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some(description))
        .examples([json!("2026-11-21T19:00:00.000Z")])
        .build()
}

/// Any JSON at all.
pub(super) fn anything(description: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .description(Some(description))
        .build()
}

/// Any JSON but null.
pub(super) fn anything_but_null(description: &str) -> Object {
    let types = [
        Type::Object,
        Type::Array,
        Type::String,
        Type::Number,
        Type::Boolean,
    ];
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter(types))
        .description(Some(description))
        .build()
}

/// An object whose fields are the worker's own.
pub(super) fn free_object(description: &str) -> Object {
    let names = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(NO_NUL));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(description))
        .property_names(Some(names))
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
        .build()
}

/// A list.
pub(super) fn list(description: &str, items: impl Into<RefOr<Schema>>) -> Array {
    ArrayBuilder::new()
        .items(items.into())
        .description(Some(description))
        .build()
}

/// The same, or null.
pub(super) fn or_null(mut object: Object) -> Object {
    object.schema_type = match object.schema_type {
        SchemaType::Type(known) => SchemaType::from_iter([known, Type::Null]),
        several => several,
    };
    object
}

/// A named schema, or null.
pub(super) fn named_or_null(name: &str, description: &str) -> Schema {
    OneOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .item(named(name))
        .description(Some(description))
        .into()
}

/// A choice of named schemas.
pub(super) fn one_of(description: &str, names: &[&str]) -> Schema {
    let choice = OneOfBuilder::new().description(Some(description));
    names
        .iter()
        .fold(choice, |choice, name| choice.item(named(name)))
        .into()
}

/// The same where more than one of them may fit.
pub(super) fn any_of(description: &str, names: &[&str]) -> Schema {
    let choice = AnyOfBuilder::new().description(Some(description));
    names
        .iter()
        .fold(choice, |choice, name| choice.item(named(name)))
        .into()
}

/// A JSON text inside a string: the data of an event stream's block.
pub(super) fn json_text(description: &str, content: RefOr<Schema>) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .content_media_type("application/json")
        .content_schema(Some(content))
        .build()
}

/// The word that a field always holds.
pub(super) fn word(description: &str, word: &str) -> Object {
    one_of_words(description, [word])
}

/// A keyword of JSON Schema that the builders do not know.
///
/// One in a schema at most: their order is that of a hash map.
pub(super) fn keyword(name: &str, value: Value) -> Option<Extensions> {
    Some(Extensions::from_iter([(name, value)]))
}
