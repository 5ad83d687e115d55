//! The places of all views together: which of them a path belongs to, and how a place finds its job.

use std::{fmt, sync::Arc};

use super::{IdTemplate, Template, View};
use crate::job::JobId;

/// Every view of a server. Cheap to clone.
#[derive(Clone, Default)]
pub struct Views {
    views: Arc<[Arc<View>]>,
    /// In the order in which they are tried.
    routes: Arc<[Arc<Route>]>,
}

/// One path of a view.
#[derive(Debug)]
pub struct Route {
    view: Arc<View>,
    place: usize,
    /// What is there.
    pub face: Face,
}

/// What is found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// The stream.
    Stream,
    /// Its poll twin.
    Status,
}

/// Where one job is found, as a stream and as a status.
#[derive(Debug)]
pub struct Place {
    pub(super) stream: Option<Template>,
    pub(super) status: Option<Template>,
    pub(super) pick: Pick,
}

/// Which job that is.
#[derive(Debug)]
pub enum Pick {
    /// The one of this id.
    Job(IdTemplate),
    /// The one of this id, which is made when it is not there.
    Feed(JobId),
    /// The newest of the view's kinds, an unfinished one first.
    Newest {
        /// The parameter that names whose; else it is the caller's.
        owner_from: Option<String>,
        /// Whether one is begun when none is under way.
        starts: bool,
    },
}

impl Views {
    pub(super) fn new(views: Vec<Arc<View>>) -> Self {
        let mut routes = Vec::new();
        for view in &views {
            for place in 0..view.places.len() {
                for face in [Face::Stream, Face::Status] {
                    if view.places[place].path(face).is_some() {
                        let view = Arc::clone(view);
                        routes.push(Arc::new(Route { view, place, face }));
                    }
                }
            }
        }
        routes.sort_by(|one, other| one.path().rank().cmp(&other.path().rank()));
        Self {
            views: views.into(),
            routes: routes.into(),
        }
    }

    /// Every view.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<View>> {
        self.views.iter()
    }

    /// Every path.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }

    /// Whose path that is, if it is one of theirs.
    pub fn at(&self, path: &str) -> Option<&Route> {
        let route = self.routes.iter().find(|route| route.path().matches(path));
        route.map(|route| &**route)
    }

    /// Whether the path is open to everybody, from everywhere.
    pub fn is_public(&self, path: &str) -> bool {
        self.at(path).is_some_and(|route| route.view.is_public)
    }
}

impl Route {
    /// Whose it is.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The path.
    pub fn path(&self) -> &Template {
        let path = self.view.places[self.place].path(self.face);
        path.expect("a route is made for a path")
    }

    /// Which job is found there.
    pub fn pick(&self) -> &Pick {
        &self.view.places[self.place].pick
    }
}

impl Place {
    /// Its path for that, if it has one.
    pub fn path(&self, face: Face) -> Option<&Template> {
        match face {
            Face::Stream => self.stream.as_ref(),
            Face::Status => self.status.as_ref(),
        }
    }

    /// Its paths.
    pub fn paths(&self) -> impl Iterator<Item = &Template> {
        self.stream.iter().chain(&self.status)
    }

    /// Which job is found there.
    pub fn pick(&self) -> &Pick {
        &self.pick
    }
}

impl fmt::Debug for Views {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.views.iter().map(|view| view.name());
        formatter.debug_set().entries(names).finish()
    }
}
