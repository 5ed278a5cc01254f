//! `http`: posts and pages of history through the server, over loopback. The server has a runtime of its own; both share this
//! machine's cores, as a test on one machine must.

use std::{sync::Arc, time::Duration};

use decentcom_server::{
    config::Config,
    http::{App, serve},
    storage::{Storage, SystemClock},
};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinHandle,
};

use super::{
    Prepared, Task,
    dataset::{popular_channel, text, user},
    failure, held,
    pace::{self, Ended},
    post::callers,
    read::PAGE,
};
use crate::{
    failure::Failure,
    results::{Sample, Subject, Variant},
    subject::community,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn measure(task: &Task, runtime: &Runtime) -> Result<Sample, Failure> {
    let serving = Builder::new_multi_thread().enable_all().build()?;
    let (store, token) = serving.block_on(async {
        if task.what.subject == Subject::Held {
            return Ok((held::store(task.dataset)?, held::TOKEN.to_owned()));
        }
        let store = community::open(task.backend()?, &task.own_copy(Prepared::Dataset)?).await?;
        let token = store.create_session(&user(0).text(), DAY).await?.token;
        Ok::<_, Failure>((store, token))
    })?;
    let server = serving.block_on(Server::start(store))?;
    let base = format!("{}/api/v1/channels", server.base);
    let tally = runtime.block_on(async {
        let client = Client::builder().no_proxy().build().map_err(failure)?;
        let is_post = task.what.case.variant == Some(Variant::Posts);
        let call = move |number| {
            let channel = popular_channel(number);
            let call = if is_post {
                let body = serde_json::json!({ "content": text(number) });
                client.request(Method::POST, format!("{base}/{channel}/messages")).json(&body)
            } else {
                client.request(Method::GET, format!("{base}/{channel}/messages?limit={PAGE}"))
            };
            answered(call.bearer_auth(&token))
        };
        pace::closed(callers(task), task.span(), call).await
    })?;
    serving.block_on(server.stop())?;
    Ok(tally.sample())
}

/// Waits for the whole answer, which must be a good one.
async fn answered(call: RequestBuilder) -> Result<Ended, Failure> {
    let answer = call.send().await.map_err(failure)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(failure)?;
    match status {
        StatusCode::SERVICE_UNAVAILABLE => Ok(Ended::Refused),
        status if status.is_success() => Ok(Ended::Well(1)),
        status => Err(failure(format!("the server answered {status}: {}", String::from_utf8_lossy(&body)))),
    }
}

/// The real server, on a free port.
struct Server {
    base: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(store: Arc<dyn Storage>) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let mut config = Config::default();
        (config.limits.changes, config.limits.reads) = (0, 0); // all callers are one user
        let app = App::new(store, config, Arc::new(SystemClock)).await?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(app, listener, async move { drop(stopped.await) }));
        Ok(Self { base, stop, task })
    }

    async fn stop(self) -> Result<(), Failure> {
        let _ = self.stop.send(());
        Ok(self.task.await.map_err(failure)??)
    }
}
