//! Somebody who keeps posting, and what became of it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::User;

/// A post that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) at: Instant,
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

/// Posts in the background until it is dropped or the server is gone.
pub(crate) struct Posting {
    answers: Arc<Mutex<Vec<Answer>>>,
    task: JoinHandle<()>,
}

impl Posting {
    pub(crate) fn start(user: &User, channel: &str) -> Self {
        let (user, path) = (user.clone(), format!("/channels/{channel}/messages"));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let noting = answers.clone();
        let task = tokio::spawn(async move {
            for number in 0.. {
                let sent = user.try_call(Method::POST, &path, json!({ "content": format!("post {number}") })).await;
                let Some((status, body)) = sent else { return };
                noting.lock().unwrap().push(Answer { at: Instant::now(), status, body });
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Self { answers, task }
    }

    /// All answers so far.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        self.answers.lock().unwrap().clone()
    }

    /// The ids of what was acknowledged, up to a moment.
    pub(crate) fn acknowledged(&self, until: Instant) -> HashSet<String> {
        let answers = self.answers();
        let acknowledged = answers.iter().filter(|it| it.status.is_success() && it.at <= until);
        acknowledged.map(|it| it.body["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits for `count` further answers that `are_meant`.
    pub(crate) async fn wait_for(&self, count: usize, are_meant: impl Fn(&Answer) -> bool) {
        let (before, deadline) = (self.answers().len(), Instant::now() + Duration::from_secs(30));
        while self.answers().iter().skip(before).filter(|it| are_meant(it)).count() < count {
            assert!(Instant::now() < deadline, "the answers since: {:?}", &self.answers()[before..]);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        self.task.abort();
    }
}
