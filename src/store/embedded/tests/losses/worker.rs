//! A worker, what it knows of its jobs, and how that is compared with what a disk holds.

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{super::*, STEPS, Tally, WallClock};
use crate::job::Face;

/// What a worker knows of a job: what it was told, and what it was not told any more.
#[derive(Debug)]
pub(super) struct Known {
    /// As it was last acknowledged.
    pub(super) job: Job,
    /// As it was last acknowledged for good.
    solid: Job,
    /// Progress that was acknowledged since.
    soft: Vec<Face>,
    events: Vec<(Seq, Json)>,
    rows: Vec<Json>,
    answers: Vec<(ReportId, Seq)>,
    pub(super) is_removed: bool,
    /// What was not answered any more.
    open: Option<Open>,
}

#[derive(Debug)]
enum Open {
    Creation,
    Removal,
    Commit(Box<OpenCommit>),
}

#[derive(Debug)]
struct OpenCommit {
    job: Job,
    nonce: Uuid,
    events: Vec<NewEvent>,
    rows: Vec<Json>,
    answers: Vec<ReportId>,
}

/// A worker with what it knows.
pub(super) struct Worker {
    number: usize,
    chance: StdRng,
    pub(super) jobs: BTreeMap<String, Known>,
    created: u64,
    /// Values that were put once and acknowledged.
    values: BTreeMap<String, Vec<u8>>,
    /// Keys that were reserved and acknowledged.
    keys: BTreeMap<String, JobId>,
    pub(super) tally: Tally,
}

impl Worker {
    pub(super) fn new(number: usize, seed: u64) -> Self {
        Self {
            number,
            chance: StdRng::seed_from_u64(seed),
            jobs: BTreeMap::new(),
            created: 0,
            values: BTreeMap::new(),
            keys: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Works until the power fails, or enough is done.
    pub(super) async fn work(mut self, store: Arc<Embedded>, clock: Arc<WallClock>) -> Self {
        for _ in 0..STEPS {
            if self.act(&store, &clock).await.is_err() {
                self.tally.interruptions += 1;
                break;
            }
            self.tally.acknowledged += 1;
        }
        self
    }

    async fn act(&mut self, store: &Embedded, clock: &WallClock) -> Result<(), StoreError> {
        let unfinished: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, known)| !known.is_removed && !known.job.is_finished())
            .map(|(name, _)| name.clone())
            .collect();
        let dice = self.chance.random_range(0..100);
        if unfinished.len() < 2 || dice < 4 {
            return self.create(store, clock.now()).await;
        }
        let name = unfinished[self.chance.random_range(0..unfinished.len())].clone();
        let count = self.chance.random_range(1..4);
        let text = |worker: &mut Self| format!("{:x}", worker.chance.random::<u64>());
        let mut change = Change::default();
        match dice {
            4..58 => {
                let processed = self.jobs[&name].job.face.progress.processed();
                change = Change::count(processed.unwrap_or_default().get() + 1);
            }
            58..64 => change = Change::of("{\"processed_increment\": 2}"),
            64..72 => change.events = (0..count).map(|_| event(&text(self))).collect(),
            72..80 => {
                change.rows = (0..count).map(|_| row(&text(self))).collect();
                change.answers = vec![report_id(&text(self))];
            }
            80..86 => {
                change = Change::to(State::Completed);
                change.events = (0..count).map(|_| event(&text(self))).collect();
                change.answers = vec![report_id(&text(self))];
            }
            86..90 => return self.remove(store, clock.now()).await,
            90..94 => {
                let (key, value) = (text(self), text(self).into_bytes());
                let there = store.put_if_absent(&key, &value, None, clock.now()).await?;
                self.values.insert(key, there.to_vec());
                return Ok(());
            }
            94..97 => {
                let key = text(self);
                let bound = store.reserve(&key, &id(&name), clock.now()).await?;
                self.keys.insert(key, bound);
                return Ok(());
            }
            _ => {
                store.flush().await?;
                for known in self.jobs.values_mut() {
                    known.solid = known.job.clone();
                    known.soft.clear();
                }
                return Ok(());
            }
        }
        self.change(store, &name, &change, clock.now()).await
    }

    async fn create(&mut self, store: &Embedded, now: Timestamp) -> Result<(), StoreError> {
        self.created += 1;
        let name = format!("job-{}-{}", self.number, self.created);
        let job = new_job(&name, NewJob::default(), now);
        let input = self.chance.random_bool(0.2).then(|| Input {
            format: InputFormat::Text,
            content: name
                .repeat(self.chance.random_range(1..20_000))
                .into_bytes()
                .into(),
        });
        self.jobs.insert(
            name.clone(),
            Known {
                job: job.clone(),
                solid: job.clone(),
                soft: Vec::new(),
                events: Vec::new(),
                rows: Vec::new(),
                answers: Vec::new(),
                is_removed: false,
                open: Some(Open::Creation),
            },
        );
        let Created::Done(seq) = store.create(&job, input.as_ref()).await? else {
            panic!("{name} is new, and there is room");
        };
        let known = self.jobs.get_mut(&name).expect("put above");
        known.open = None;
        known.job.seq = seq;
        known.solid.seq = seq;
        Ok(())
    }

    async fn remove(&mut self, store: &Embedded, now: Timestamp) -> Result<(), StoreError> {
        let there = self.jobs.values_mut().filter(|known| !known.is_removed);
        let known = there.last().expect("there is an unfinished one");
        known.open = Some(Open::Removal);
        let until = now.plus_seconds(1_000_000_000);
        store.remove(&known.job.origin, until).await?;
        known.open = None;
        known.is_removed = true;
        Ok(())
    }

    async fn change(
        &mut self,
        store: &Embedded,
        name: &str,
        change: &Change,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let known = self.jobs.get_mut(name).expect("a known job");
        let proposal = Proposal::of(&known.job, change, now);
        if proposal.positions == 0 && proposal.rows.is_empty() {
            return Ok(());
        }
        known.open = Some(Open::Commit(Box::new(OpenCommit {
            job: proposal.job.clone(),
            nonce: proposal.nonce,
            events: change.events.clone(),
            rows: change.rows.clone(),
            answers: change.answers.clone(),
        })));
        let (prev, first) = match store.commit(proposal.commit()).await? {
            Committed::Done { prev, first } => (prev, first),
            other => panic!("nobody else is at {name}: {other:?}"),
        };
        assert!(first > prev || proposal.positions == 0, "seqs rise");
        known.job = proposal.done(prev, first);
        known.open = None;
        if proposal.is_replaceable {
            self.tally.soft += 1;
            known.soft.push(known.job.face.clone());
        } else {
            known.solid = known.job.clone();
            known.soft.clear();
        }
        known.take(
            &change.events,
            &change.rows,
            &change.answers,
            (prev, first),
            proposal.positions,
        );
        Ok(())
    }
}

impl Known {
    fn take(
        &mut self,
        events: &[NewEvent],
        rows: &[Json],
        answers: &[ReportId],
        (prev, first): (Seq, Seq),
        positions: u64,
    ) {
        let placed = (1..).zip(events);
        let placed = placed
            .map(|(place, event)| (Committed::seq_at(prev, first, place), event.data.clone()));
        self.events.extend(placed);
        self.rows.extend_from_slice(rows);
        let seq = Committed::seq_at(prev, first, positions);
        self.answers
            .extend(answers.iter().cloned().map(|id| (id, seq)));
    }

    /// Compares what the store holds with what the worker knows; what was open is known then.
    /// `false` when there never was such a job.
    async fn check(&mut self, store: &Embedded) -> bool {
        let name = self.job.id().as_str().to_owned();
        let open = self.open.take();
        let stored = match load(store, &name, at(0)).await {
            Loaded::Unknown => {
                assert!(matches!(open, Some(Open::Creation)), "{name} is lost");
                return false;
            }
            Loaded::Gone(former) => {
                let is_removed = self.is_removed || matches!(open, Some(Open::Removal));
                assert!(is_removed, "{name} is gone");
                assert_eq!(former, Former::of(&self.job.origin));
                self.is_removed = true;
                return true;
            }
            Loaded::Job(stored) => *stored,
        };
        assert!(!self.is_removed, "{name} is back");
        let found = &*stored.job;
        assert_eq!(found.origin, self.job.origin);
        let commit = match open {
            Some(Open::Commit(commit)) if stored.nonce == Some(commit.nonce) => Some(commit),
            _ => None,
        };
        // All of a change is there, or nothing of it.
        if let Some(commit) = commit {
            assert_eq!(found.face, commit.job.face, "{name}");
            let count = commit.events.len() as u64;
            let all = store
                .events_after(&found.origin, Seq::ZERO)
                .await
                .expect("readable");
            let new = &all.events[all.events.len() - commit.events.len()..];
            let first = new.first().map_or(found.seq, |event| event.seq);
            let prev = self.job.seq;
            self.take(&commit.events, &commit.rows, &[], (prev, first), count);
            for report_id in &commit.answers {
                let answer = stored.ledger.find(report_id, at(0)).expect("remembered");
                self.answers.push((report_id.clone(), answer.seq));
            }
        } else {
            let is_known = found.face == self.solid.face || self.soft.contains(&found.face);
            assert!(
                is_known,
                "{name}: {:?}\nis not\n{:?}",
                found.face, self.solid.face
            );
        }
        if found.is_finished() {
            assert!(found.seq >= self.job.seq, "{name}");
        } else {
            // Above everything that was shown, of it and of any other.
            assert!(found.seq > self.job.seq, "{name}");
        }
        let kept = store
            .events_after(&found.origin, Seq::ZERO)
            .await
            .expect("readable");
        let kept: Vec<_> = kept
            .events
            .into_iter()
            .map(|event| (event.seq, event.data))
            .collect();
        assert_eq!(kept, self.events, "events of {name}");
        let rows = store
            .rows(&found.origin, 0, usize::MAX)
            .await
            .expect("readable");
        assert_eq!(
            rows.expect("the job is there").rows,
            self.rows,
            "rows of {name}"
        );
        for (report_id, seq) in &self.answers {
            let answer = stored.ledger.find(report_id, at(0));
            assert_eq!(
                answer.map(|answer| answer.seq),
                Some(*seq),
                "an answer of {name}"
            );
        }
        self.job = found.clone();
        self.solid = found.clone();
        self.soft.clear();
        true
    }
}

impl Worker {
    pub(super) async fn check(&mut self, store: &Embedded) {
        let mut lost = Vec::new();
        for (name, known) in &mut self.jobs {
            let (newest, is_open) = (known.job.face.clone(), known.open.is_some());
            if !known.check(store).await {
                lost.push(name.clone());
            } else if known.job.face != newest {
                match known.job.face.progress.processed() < newest.progress.processed() {
                    true => self.tally.lost_progress += 1,
                    false if is_open => self.tally.unanswered += 1,
                    false => {}
                }
            }
        }
        for name in lost {
            self.jobs.remove(&name);
        }
        for (key, value) in &self.values {
            let there = store.put_if_absent(key, b"another", None, at(0)).await;
            assert_eq!(
                &*there.expect("the store answers"),
                value,
                "a value is lost"
            );
        }
        for (key, bound) in &self.keys {
            let there = store.reserve(key, &id("another"), at(0)).await;
            assert_eq!(there.expect("the store answers"), *bound, "a key is lost");
        }
    }
}
