//! How often somebody may ask.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{
    metric, start, start_measured,
    support::{Server, User},
};

/// Makes a call; when it comes too often, answers how long the server asks to wait.
async fn ask(user: &User, method: Method, path: &str, body: serde_json::Value) -> Result<(), Duration> {
    let reply = user.request(method, path).json(&body).send().await.unwrap();
    match reply.status() {
        status if status.is_success() => Ok(()),
        StatusCode::TOO_MANY_REQUESTS => {
            let seconds = reply.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!(reply.json::<serde_json::Value>().await.unwrap()["error"].is_string());
            Err(Duration::from_secs(seconds))
        }
        other => panic!("{other}"),
    }
}

/// The limits of these tests: three at once, then one in a while that no machine is slow enough to let pass unnoticed.
fn few(rate: &'static str, burst: &'static str) -> [(&'static str, &'static str); 2] {
    [(rate, "1"), (burst, "3")]
}

async fn two_users(server: &Server) -> (User, User, String) {
    let (one, other) = (server.log_in(1).await, server.log_in(2).await);
    let channel = one.channel("general").await;
    (one, other, format!("/channels/{channel}/messages"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_posts_too_often_is_told_how_long_to_wait_and_that_is_true() {
    let (_directory, server) = start_measured(&few("DECENTCOM_LIMITS__CHANGES", "DECENTCOM_LIMITS__CHANGES_BURST"));
    let (one, other, messages) = two_users(&server).await;
    let post = async |user: &User| ask(user, Method::POST, &messages, json!({ "content": "x" })).await;
    let began = Instant::now();
    let (mut posted, mut wait) = (0, None);
    while wait.is_none() {
        match post(&one).await {
            Ok(()) => posted += 1,
            Err(given) => wait = Some(given),
        }
        assert!(posted < 100, "nobody is told to wait");
    }
    let allowed = 3 + began.elapsed().as_secs() + 1;
    assert!((3..=allowed).contains(&posted), "{posted} of {allowed}");
    post(&other).await.expect("another user has rates of their own");
    one.get("/channels").await; // reading is counted apart
    let wait = wait.unwrap();
    assert!((1..=2).contains(&wait.as_secs()), "{wait:?}");
    tokio::time::sleep(wait).await;
    post(&one).await.expect("after the wait one more is let in");
    assert!(metric(&server, "decentcom_rate_limited_total{limit=\"changes\"}").await >= 1.0);
    assert_eq!(metric(&server, "decentcom_rate_limited_total{limit=\"reads\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_and_every_costly_read_counts() {
    for (rate, burst, method, path) in [
        ("CHANGES", "CHANGES_BURST", Method::PATCH, "/profile"),
        ("READS", "READS_BURST", Method::GET, "/members"),
        ("READS", "READS_BURST", Method::GET, "/channels"),
    ] {
        let (rate, burst) = (format!("DECENTCOM_LIMITS__{rate}"), format!("DECENTCOM_LIMITS__{burst}"));
        let (_directory, server) = start(&[(rate.as_str(), "1"), (burst.as_str(), "3")]);
        let user = server.log_in(1).await;
        let mut made = 0;
        while ask(&user, method.clone(), path, json!({ "display_name": made.to_string() })).await.is_ok() {
            made += 1;
            assert!(made < 100, "{method} {path} is not counted");
        }
        assert!(made >= 3, "{method} {path}");
        assert_eq!(user.get("/auth/me").await["user_id"], json!(user.id), "what costs little is not counted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_ins_are_counted_by_address() {
    let (_directory, server) = start(&few("DECENTCOM_LIMITS__LOG_INS", "DECENTCOM_LIMITS__LOG_INS_BURST"));
    let stranger = server.stranger(1);
    let mut asked = 0;
    let wait = loop {
        let body = json!({ "pubkey": stranger.with_key(asked).pubkey() });
        match ask(&stranger, Method::POST, "/auth/challenge", body).await {
            Ok(()) => asked += 1,
            Err(wait) => break wait,
        }
        assert!(asked < 100, "challenges are not counted");
    };
    assert!((1..=2).contains(&wait.as_secs()), "{wait:?}");
    assert!(asked >= 3);
}

/// A bad signature costs many checks of a signature, so that these are bounded low; but only by address: whoever could use up
/// the attempts of a key would lock its owner out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_log_ins_silence_their_address_for_a_moment_and_lock_out_no_key() {
    let settings = few("DECENTCOM_LIMITS__FAILED_LOG_INS", "DECENTCOM_LIMITS__FAILED_LOG_INS_BURST");
    let (_directory, server) = start_measured(&settings);
    let forger = server.log_in(1).await;
    let elsewhere = forger.from([127, 0, 0, 7]);
    forger.challenge().await;
    let (mut failed, mut silenced) = (0, false);
    while !silenced {
        match forger.verify("not the challenge").await.0 {
            StatusCode::UNAUTHORIZED => failed += 1,
            StatusCode::TOO_MANY_REQUESTS => silenced = true,
            other => panic!("{other}"),
        }
        assert!(failed < 100, "failures are not counted");
    }
    assert!(failed >= 4, "{failed}: a few mistakes are nobody's fault");
    assert!(metric(&server, "decentcom_rate_limited_total{limit=\"failed_log_ins\"}").await >= 1.0);
    elsewhere.clone().try_log_in().await.expect("the owner of the key logs in from elsewhere");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let challenge = forger.challenge().await;
    assert_eq!(forger.verify(&challenge).await.0, StatusCode::OK, "and from here, a moment later");
}
