//! Any sequence of calls against a model that keeps everything in plain collections.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::atomic::{AtomicUsize, Ordering},
};

use progressd::{
    job::{Job, NewJob, Seq, State},
    store::{Committed, Created, Filter, Loaded, Position, Store},
};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use serde_json::json;
use tokio::{runtime::Handle, task::block_in_place};
use uuid::Uuid;

use super::{Backend, parts::*};

/// A call; names are a few letters, so that calls meet.
#[derive(Debug, Clone)]
enum Call {
    Create(char),
    /// A change of one job, on its present seq or on an older one.
    Commit(char, Vec<Part>, bool),
    Remove(char),
    /// Removal of the job that had the name before.
    RemoveFormer(char),
    Expire,
}

/// What a change is made of.
#[derive(Debug, Clone, Copy)]
enum Part {
    Count,
    Event(u8),
    Row(u8),
    /// Few ids, so that some come twice.
    Answer(u8),
    End,
    /// Ends so long ago that the job's retention is over.
    EndLongAgo,
}

/// A job as the model keeps it.
#[derive(Debug)]
struct Kept {
    /// As the store should have it.
    job: Job,
    events: Vec<(Seq, u8)>,
    rows: Vec<u8>,
    answers: BTreeMap<u8, Seq>,
    nonce: Option<Uuid>,
    /// The seqs that it had before.
    earlier: Vec<Seq>,
}

#[derive(Debug, Default)]
struct Model {
    jobs: BTreeMap<char, Kept>,
    /// The last job of each name that has left.
    former: BTreeMap<char, Job>,
    /// Names whose last job's retention has ended, and which nobody has removed since: whether it still
    /// takes a commit nobody asks, since the rules allow none.
    lingering: BTreeSet<char>,
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        4 => Just(Part::Count),
        4 => any::<u8>().prop_map(Part::Event),
        3 => any::<u8>().prop_map(Part::Row),
        3 => (0..4_u8).prop_map(Part::Answer),
        1 => Just(Part::End),
        1 => Just(Part::EndLongAgo),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let name = || select(vec!['a', 'b', 'c']);
    let parts = proptest::collection::vec(part(), 0..6);
    prop_oneof![
        3 => name().prop_map(Call::Create),
        12 => (name(), parts, proptest::bool::weighted(0.15))
            .prop_map(|(name, parts, is_stale)| Call::Commit(name, parts, is_stale)),
        1 => name().prop_map(Call::Remove),
        1 => name().prop_map(Call::RemoveFormer),
        1 => Just(Call::Expire),
    ]
}

pub(super) async fn any_sequence_of_calls_does_what_a_model_does(backend: &dyn Backend) {
    let config = Config {
        cases: 12,
        failure_persistence: None,
        max_shrink_iters: 100,
        ..Config::default()
    };
    let cases = proptest::collection::vec(call(), 0..60);
    let runs = AtomicUsize::new(0);
    block_in_place(|| {
        let outcome = TestRunner::new(config).run(&cases, |calls| {
            // Names of its own for every run, which the store's other jobs do not meet.
            let run = Run {
                store: &**backend.store(),
                prefix: format!("run-{}-", runs.fetch_add(1, Ordering::Relaxed)),
            };
            Handle::current().block_on(async {
                let mut model = Model::default();
                for call in &calls {
                    run.make(call, &mut model).await;
                    run.compare(&model).await;
                }
            });
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
    });
}

struct Run<'a> {
    store: &'a dyn Store,
    prefix: String,
}

impl Run<'_> {
    fn name(&self, letter: char) -> String {
        format!("{}{letter}", self.prefix)
    }

    async fn make(&self, call: &Call, model: &mut Model) {
        match call {
            Call::Create(letter) => self.create(*letter, model).await,
            Call::Commit(letter, parts, is_stale) => {
                self.commit(*letter, parts, *is_stale, model).await;
            }
            Call::Remove(letter) => {
                if let Some(kept) = model.jobs.remove(letter) {
                    remove(self.store, &kept.job.origin, later(600)).await;
                    model.former.insert(*letter, kept.job);
                }
            }
            Call::RemoveFormer(letter) => {
                if let Some(former) = model.former.get(letter) {
                    remove(self.store, &former.origin, later(600)).await;
                    model.lingering.remove(letter);
                }
            }
            Call::Expire => {
                done("an expiry", self.store.expire(now(), 86_400, 1_000)).await;
                model.lingering.clear();
            }
        }
    }

    async fn create(&self, letter: char, model: &mut Model) {
        let new_job = NewJob {
            kind: Some(self.prefix.clone()),
            ttl_seconds: Some(600),
            ..NewJob::default()
        };
        let job = job_of(&self.name(letter), new_job, now());
        let created = done("a creation", self.store.create(&job, None)).await;
        match (created, model.jobs.get(&letter)) {
            (Created::Done(seq), None) => {
                let above = model.former.get(&letter).map_or(Seq::ZERO, |job| job.seq);
                assert!(seq > above, "{seq} is not above {above}");
                let kept = Kept {
                    job: Job { seq, ..job },
                    events: Vec::new(),
                    rows: Vec::new(),
                    answers: BTreeMap::new(),
                    nonce: None,
                    earlier: Vec::new(),
                };
                model.jobs.insert(letter, kept);
                model.lingering.remove(&letter);
            }
            (Created::Exists(stored), Some(kept)) => assert_holds(&stored, &kept.job),
            (created, kept) => panic!("{created:?} where the model has {kept:?}"),
        }
    }

    async fn commit(&self, letter: char, parts: &[Part], is_stale: bool, model: &mut Model) {
        let Some(kept) = model.jobs.get_mut(&letter) else {
            if let Some(former) = model.former.get(&letter)
                && !model.lingering.contains(&letter)
            {
                missing(self.store, &Proposal::on(former).row(&json!(0))).await;
            }
            return;
        };
        if kept.job.is_finished() {
            return;
        }
        let stale_seq = kept.earlier.last().filter(|_| is_stale).copied();
        let base = Job {
            seq: stale_seq.unwrap_or(kept.job.seq),
            ..kept.job.clone()
        };
        let mut change = Proposal::on(&base);
        let (mut events, mut rows, mut answers) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut place = 0;
        for part in parts {
            if change.job.is_finished() {
                break;
            }
            match *part {
                Part::Count => {
                    change = change.report(json!({"processed_increment": 1}));
                    place += 1;
                }
                Part::Event(number) => {
                    change = change.event("e", &json!(number));
                    place += 1;
                    events.push((place, number));
                }
                Part::Row(number) => {
                    change = change.row(&json!(number));
                    rows.push(number);
                }
                Part::Answer(number) => {
                    if let Entry::Vacant(entry) = answers.entry(number) {
                        entry.insert(place);
                        change = change.answer(&format!("r{number}"));
                    }
                }
                Part::End => {
                    change = change.at(now()).state(State::Completed);
                    place += 1;
                }
                Part::EndLongAgo => {
                    change = change.at(ago(1_000)).state(State::Failed).at(now());
                    place += 1;
                }
            }
        }
        let is_known = answers
            .keys()
            .any(|answer| kept.answers.contains_key(answer));
        let committed = done("a commit", self.store.commit(change.commit())).await;
        match committed {
            Committed::Done { prev, first } => {
                assert!(
                    !is_known && stale_seq.is_none(),
                    "applied, although it was known or late"
                );
                let seq_at = |place| Committed::seq_at(prev, first, place);
                if place > 0 {
                    kept.earlier.push(kept.job.seq);
                }
                kept.job = change.applied(&committed);
                kept.nonce = Some(change.nonce);
                kept.rows.extend(rows);
                let events = events
                    .iter()
                    .map(|(place, number)| (seq_at(*place), *number));
                kept.events.extend(events);
                let answers = answers
                    .iter()
                    .map(|(answer, place)| (*answer, seq_at(*place)));
                kept.answers.extend(answers);
            }
            Committed::Conflict(stored) => {
                assert!(is_known || stale_seq.is_some(), "refused without a reason");
                assert_holds(&stored, &kept.job);
                assert_eq!(stored.nonce, kept.nonce);
                for answer in answers.keys() {
                    let found = stored.ledger.find(&report_id(&format!("r{answer}")), now());
                    let expected = kept.answers.get(answer).copied();
                    assert_eq!(found.map(|answer| answer.seq), expected);
                }
            }
            Committed::Missing => panic!("{letter} is in the model"),
        }
        if kept.job.expires_at().is_some_and(|end| end <= now())
            && let Some(kept) = model.jobs.remove(&letter)
        {
            model.lingering.insert(letter);
            model.former.insert(letter, kept.job);
        }
    }

    /// Everything that can be read, against the model.
    async fn compare(&self, model: &Model) {
        for letter in ['a', 'b', 'c'] {
            let name = self.name(letter);
            let loaded = look_up(self.store, &name).await;
            match (loaded, model.jobs.get(&letter)) {
                (Loaded::Job(stored), Some(kept)) => {
                    assert_holds(&stored, &kept.job);
                    assert_eq!(stored.nonce, kept.nonce);
                }
                (Loaded::Gone(former), None) => {
                    let expected = model.former.get(&letter).expect("there was a job");
                    assert_eq!(former.incarnation, expected.origin.incarnation);
                }
                (Loaded::Unknown, None) => assert!(!model.former.contains_key(&letter)),
                (loaded, kept) => panic!("{name}: {loaded:?} where the model has {kept:?}"),
            }
            let Some(kept) = model.jobs.get(&letter) else {
                continue;
            };
            let origin = &kept.job.origin;
            let found = super::parts::kept(self.store, origin).await;
            let found: Vec<_> = found
                .iter()
                .map(|event| (event.seq, event.data.as_str().parse().expect("a number")))
                .collect();
            assert_eq!(found, kept.events);
            let rows: Vec<u8> = all_rows(self.store, origin)
                .await
                .iter()
                .map(|row| row.parse().expect("a number"))
                .collect();
            assert_eq!(rows, kept.rows);
        }
        let filter = Filter {
            kind: Some(self.prefix.clone()),
            ..Filter::default()
        };
        let mut expected: Vec<_> = model.jobs.values().map(|kept| &kept.job).collect();
        expected.sort_by_key(|job| Reverse(Position::of(job)));
        let list = done("a list", self.store.list(&filter, None, 10, now())).await;
        let list: Vec<_> = list.iter().map(|job| &**job).collect();
        assert_eq!(list, expected);
        expected.reverse();
        expected.retain(|job| !job.is_finished());
        let unfinished = self.store.unfinished(Some(&self.prefix), None, 10);
        let unfinished = done("a list", unfinished).await;
        let unfinished: Vec<_> = unfinished.iter().map(|job| &**job).collect();
        assert_eq!(unfinished, expected);
    }
}
