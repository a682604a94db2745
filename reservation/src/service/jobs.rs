//! Working at the outbox: one loop for jobs of every kind.
//!
//! Not here: what a job does (`mails`, `collecting`).
//! Invariant: each kind has places of its own, and a job that hangs holds its own place alone; how jobs ended is noted
//! before their places are given away. What was not noted is done again once its lease is over.

use std::collections::BTreeMap;

use tokio::{select, sync::watch, task::JoinSet, time::sleep};

use super::{Answer, Service, ServiceError, retry::retry};
use crate::{
    limits::{DELIVERIES_AT_ONCE, JOB_LEASE, ROUND_EVERY, WEBHOOKS_MAX},
    store::{Job, JobEnd, JobKind, Task},
};

impl JobKind {
    /// Jobs of this kind that are worked at once.
    const fn places(self) -> u32 {
        match self {
            Self::MemberMail | Self::Payment => 8,
            Self::FriendMail => 4,
            Self::Webhook => WEBHOOKS_MAX * DELIVERIES_AT_ONCE,
        }
    }
}

/// A job's key, and how it ended; `None`: its work noted that itself.
type Ended = (String, Option<JobEnd>);

/// What is worked at, and what has ended and is not noted.
#[derive(Default)]
struct Works {
    running: JoinSet<(JobKind, Answer<Ended>)>,
    busy: BTreeMap<JobKind, u32>,
    ended: Vec<(String, JobEnd)>,
}

impl Works {
    /// Notes what has ended, and begins what is due of `kinds` and has a place; returns how many.
    async fn turn(&mut self, service: &Service, kinds: &[JobKind]) -> Answer<u32> {
        let free = |kind: &JobKind| kind.places() - self.busy.get(kind).copied().unwrap_or_default();
        let wanted: Vec<_> =
            kinds.iter().map(|kind| (*kind, free(kind))).filter(|(_, free)| *free > 0).collect();
        let taken = retry(|| service.note_and_take(&self.ended, &wanted)).await?;
        self.ended.clear();
        let count = taken.len();
        for (kind, job) in taken {
            *self.busy.entry(kind).or_default() += 1;
            let service = service.clone();
            self.running.spawn(async move {
                let ended = tokio::spawn(async move { service.work(job).await }).await;
                let lost = |error| Err(ServiceError::Internal(format!("the work of a job ended: {error}")));
                (kind, ended.unwrap_or_else(lost))
            });
        }
        Ok(count as u32)
    }

    /// Waits until a job has ended, and collects those that have; for ever where none is worked at.
    async fn one_ends(&mut self) -> Answer<()> {
        let Some(first) = self.running.join_next().await else { return std::future::pending().await };
        let mut answer = Ok(());
        let others = std::iter::from_fn(|| self.running.try_join_next());
        for joined in std::iter::once(first).chain(others) {
            // Work is a task of its own, so that a panic comes as its answer.
            let (kind, ended) = joined.map_err(|error| ServiceError::Internal(error.to_string()))?;
            if let Some(busy) = self.busy.get_mut(&kind) {
                *busy -= 1;
            }
            match ended {
                Ok((key, Some(end))) => self.ended.push((key, end)),
                Ok((_, None)) => {}
                Err(error) => answer = Err(error),
            }
        }
        answer
    }

    fn are_over(&self) -> bool {
        self.running.is_empty() && self.ended.is_empty()
    }
}

impl Service {
    /// Works at jobs of these kinds until none is due and all have ended; returns how many were begun.
    pub async fn work_jobs(&self, kinds: &[JobKind]) -> Answer<u32> {
        let (mut works, mut begun, mut answer) = (Works::default(), 0, Ok(()));
        loop {
            let taken = works.turn(self, kinds).await?;
            begun += taken;
            if taken == 0 && works.are_over() {
                return answer.map(|()| begun);
            }
            if !works.running.is_empty()
                && let Err(error) = works.one_ends().await
            {
                answer = Err(error);
            }
        }
    }

    /// Sends mails until none is due; returns how many were taken.
    pub async fn send_mails(&self) -> Answer<u32> {
        self.work_jobs(&JobKind::MAILS).await
    }

    /// Moves money until none is due; returns how many rows were taken.
    pub async fn move_due_money(&self) -> Answer<u32> {
        self.work_jobs(&[JobKind::Payment]).await
    }

    /// Works at all jobs as they become due. At the end, what was begun is ended.
    pub(super) async fn keep_working(self, mut stop: watch::Receiver<bool>) {
        let mut works = Works::default();
        loop {
            let taken = works.turn(&self, &JobKind::ALL).await;
            self.noted("jobs", taken);
            select! {
                _ = stop.wait_for(|stop| *stop) => break,
                ended = works.one_ends() => drop(self.noted("a job", ended)),
                () = self.0.changed.jobs.notified() => {}
                () = sleep(ROUND_EVERY) => {}
            }
        }
        while !works.running.is_empty() {
            let ended = works.one_ends().await;
            self.noted("a job", ended);
        }
        let noted = works.turn(&self, &[]).await;
        self.noted("jobs", noted);
    }

    /// Sends events to webhooks until none is due; returns how many were taken.
    pub async fn send_events(&self) -> Answer<u32> {
        self.work_jobs(&[JobKind::Webhook]).await
    }

    async fn note_and_take(
        &self,
        ended: &[(String, JobEnd)],
        wanted: &[(JobKind, u32)],
    ) -> Answer<Vec<(JobKind, Job)>> {
        if ended.is_empty() && wanted.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.now();
        let mut tx = self.0.store.begin().await?;
        for (key, end) in ended {
            tx.end_job(key, end, now).await?;
        }
        let mut taken = Vec::new();
        for (kind, places) in wanted {
            let jobs = tx.take_jobs(*kind, now, now.saturating_add(JOB_LEASE), *places).await?;
            taken.extend(jobs.into_iter().map(|job| (*kind, job)));
        }
        tx.commit().await?;
        Ok(taken)
    }

    async fn work(&self, job: Job) -> Answer<Ended> {
        let end = match &job.task {
            Task::Mail(request) => Some(self.send_mail(request, job.tries).await?),
            Task::Payment => self.work_payment(&job.key, job.tries).await?,
            Task::Webhook { webhook, event, body } => Some(self.deliver(*webhook, event, body, &job).await?),
        };
        Ok((job.key, end))
    }
}
