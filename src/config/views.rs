//! `[views.NAME]` and `server.views`: the vocabularies that the server speaks besides its own.
//!
//! They are read apart from the other keys: what they hold is the operator's own, and its order counts.

use toml::{Table, Value};

use super::{Change, layers::Layer};
use crate::view::{Definition, Views, compile};

/// The views that ship with the server, by name: each a file as it could stand in a configuration.
pub const SHIPPED_VIEWS: [(&str, &str); 5] = [
    ("audits", include_str!("../../config/views/audits.toml")),
    (
        "recommendations",
        include_str!("../../config/views/recommendations.toml"),
    ),
    ("orders", include_str!("../../config/views/orders.toml")),
    (
        "inventory",
        include_str!("../../config/views/inventory.toml"),
    ),
    ("process", include_str!("../../config/views/process.toml")),
];

/// The tables under `views` of all layers; each mistake is a sentence.
pub(super) fn read_own(layers: &[Layer], problems: &mut Vec<String>) -> Vec<Definition> {
    let mut own = Vec::new();
    for (views, origin) in layers.iter().filter_map(Layer::views) {
        let Some(views) = views.as_table() else {
            problems.push(format!(
                "`views` in {origin} must be a section: write `[views.NAME]`"
            ));
            continue;
        };
        for (name, table) in views {
            match table.as_table() {
                Some(table) => own.push(definition(name, table, origin)),
                None => problems.push(format!(
                    "`views.{name}` in {origin} must be a section: write `[views.{name}]`"
                )),
            }
        }
    }
    own
}

/// The operator's own views, and those that ship under the names; an own one goes before one that ships.
///
/// # Errors
/// Every mistake, a sentence each.
pub(super) fn compile_all(own: Vec<Definition>, names: &[String]) -> Result<Views, Vec<String>> {
    let mut definitions = own;
    let mut problems = Vec::new();
    for name in names {
        if definitions.iter().any(|known| known.name == *name) {
            continue;
        }
        match SHIPPED_VIEWS.iter().find(|(shipped, _)| shipped == name) {
            Some((_, text)) => definitions.push(shipped(name, text)),
            None => problems.push(format!(
                "`server.views` must list views that ship with the server ({}), or that have a section here, but says {name:?}",
                SHIPPED_VIEWS.map(|(name, _)| name).join(", ")
            )),
        }
    }
    match compile(&definitions) {
        Ok(views) if problems.is_empty() => Ok(views),
        Ok(_) => Err(problems),
        Err(mistakes) => {
            problems.extend(mistakes);
            Err(problems)
        }
    }
}

/// What the views of an operator are, beside the other settings.
pub(super) fn changes(own: &[Definition]) -> impl Iterator<Item = Change> {
    own.iter().map(|own| Change {
        key: format!("views.{}", own.name),
        value: Value::Table(own.table.clone()).to_string(),
        origin: own.origin.clone(),
    })
}

fn definition(name: &str, table: &Table, origin: &str) -> Definition {
    Definition {
        name: name.to_owned(),
        table: table.clone(),
        origin: origin.to_owned(),
    }
}

fn shipped(name: &str, text: &str) -> Definition {
    let file: Table = text.parse().expect("a shipped view is TOML");
    let table = file["views"][name].as_table();
    definition(name, table.expect("its own section"), "the shipped view")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_view_stands_beside_the_others() {
        let names = SHIPPED_VIEWS.map(|(name, _)| name.to_owned());
        let views = compile_all(Vec::new(), &names).expect("the shipped views are right");
        assert_eq!(views.iter().count(), names.len());
    }
}
