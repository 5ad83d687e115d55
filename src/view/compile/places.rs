//! `[[views.NAME.paths]]`: where a view is found, and whose job is there.

use crate::{
    job::JobId,
    view::{IdTemplate, Pick, Place, Template, paths::parse_name, reader::Reader},
};

/// Every place of the view.
pub(super) fn read(reader: &Reader<'_>, is_public: bool) -> Vec<Place> {
    if !reader.has("paths") {
        let rule = format!(
            "must have a path at least: write `[[{}]]`",
            reader.key("paths")
        );
        reader.refuse("paths", &rule);
    }
    let places = reader.tables("paths").into_iter();
    places
        .filter_map(|place| read_place(place, is_public))
        .collect()
}

fn read_place(reader: Reader<'_>, is_public: bool) -> Option<Place> {
    let stream = reader.parsed("stream", Template::parse);
    let status = reader.parsed("status", Template::parse);
    if !reader.has("stream") && !reader.has("status") {
        reader.refuse_all("must have a path: `stream`, `status`, or both");
    }
    let paths: Vec<&Template> = stream.iter().chain(&status).collect();
    let pick = read_pick(&reader, &paths, is_public);
    reader.finish();
    Some(Place {
        stream,
        status,
        pick: pick?,
    })
}

fn read_pick(reader: &Reader<'_>, paths: &[&Template], is_public: bool) -> Option<Pick> {
    let job_id = reader.parsed("job_id", IdTemplate::parse);
    let is_newest = reader.switch("newest");
    let owner_from = reader.parsed("owner_from", |text| {
        parse_name(text)
            .ok_or_else(|| "must be the name of a parameter, such as \"userId\"".to_owned())
    });
    let starts = reader.switch("start");
    let is_feed = reader.switch("create");
    if is_newest || starts {
        for name in ["job_id", "create"] {
            if reader.has(name) {
                reader.refuse(
                    name,
                    "must not stand beside `newest` and `start`, which find the job themselves",
                );
            }
        }
        if starts && owner_from.is_some() {
            reader.refuse(
                "owner_from",
                "must not stand beside `start`: work is begun for the caller",
            );
        }
        if starts && is_public {
            reader.refuse(
                "start",
                "must not stand in a view with `access = \"public\"`: strangers would begin work",
            );
        }
        let used = owner_from.as_deref();
        refuse_unused_names(reader, paths, |name| used == Some(name));
        return Some(Pick::Newest { owner_from, starts });
    }
    if reader.has("owner_from") {
        reader.refuse("owner_from", "must stand beside `newest = true`");
    }
    if is_feed {
        let fixed = job_id.as_ref().and_then(IdTemplate::as_fixed);
        let fixed = fixed.and_then(|fixed| JobId::parse(fixed).ok());
        if fixed.is_none() {
            reader.refuse(
                "create",
                "must stand beside a `job_id` without names in braces",
            );
        }
        refuse_unused_names(reader, paths, |_| false);
        return fixed.map(Pick::Feed);
    }
    let job_id = match job_id {
        Some(job_id) => job_id,
        None if reader.has("job_id") => return None,
        None => of_only_name(reader, paths)?,
    };
    refuse_unused_names(reader, paths, |name| {
        job_id.names().any(|used| used == name)
    });
    Some(Pick::Job(job_id))
}

/// The id when the configuration does not say: the one name in the paths.
fn of_only_name(reader: &Reader<'_>, paths: &[&Template]) -> Option<IdTemplate> {
    let mut names: Vec<_> = paths.iter().flat_map(|path| path.names()).collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [name] => Some(IdTemplate::of_name(name)),
        _ => {
            // A path that is wrong itself has been told of.
            if !paths.is_empty() {
                let rule = "must say which job is there: the `job_id`, or `newest = true`";
                reader.refuse_all(rule);
            }
            None
        }
    }
}

fn refuse_unused_names(reader: &Reader<'_>, paths: &[&Template], is_used: impl Fn(&str) -> bool) {
    for path in paths {
        if let Some(name) = path.names().find(|name| !is_used(name)) {
            let rule = format!(
                "has a path with {{{name}}}, by which no job is found: {}",
                path.as_str()
            );
            reader.refuse_all(&rule);
        }
    }
}
