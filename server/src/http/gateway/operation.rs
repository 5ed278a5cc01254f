//! What a client says: `{"op": …, "d": …}`. Whatever is not understood is ignored without a word, as clients expect.

use serde::Deserialize;

use crate::http::extract::Object;

/// An operation that is understood.
#[derive(Debug, PartialEq)]
pub(super) enum Operation {
    /// The client is still there.
    HeartbeatAck,
    /// It wants to hear a channel's events.
    Subscribe(Subscription),
    /// It no longer does.
    Unsubscribe(Subscription),
}

#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Subscription {
    pub(super) channel_id: String,
    /// Whether the client wants to hear when the subscription holds.
    #[serde(default)]
    pub(super) ack: bool,
}

#[derive(Deserialize)]
struct Named {
    op: String,
}

#[derive(Deserialize)]
struct About {
    d: Object<Subscription>,
}

impl Operation {
    /// The operation in `text`, if there is one. Nothing of what it passes over is kept.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let Object(named) = serde_json::from_str::<Object<Named>>(text).ok()?;
        let subscription = || serde_json::from_str::<Object<About>>(text).ok().map(|Object(about)| about.d.0);
        match named.op.as_str() {
            "HEARTBEAT_ACK" => Some(Self::HeartbeatAck),
            "SUBSCRIBE" => subscription().map(Self::Subscribe),
            "UNSUBSCRIBE" => subscription().map(Self::Unsubscribe),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(ack: bool) -> Subscription {
        Subscription { channel_id: "x".into(), ack }
    }

    #[test]
    fn operations_are_objects_that_say_each_thing_once() {
        for (text, expected) in [
            (r#"{"op":"HEARTBEAT_ACK"}"#, Some(Operation::HeartbeatAck)),
            (r#"{"op":"HEARTBEAT_ACK","d":{},"t":1}"#, Some(Operation::HeartbeatAck)),
            (r#"{"d":{"channel_id":"x"},"op":"SUBSCRIBE"}"#, Some(Operation::Subscribe(subscription(false)))),
            (r#"{"op":"SUBSCRIBE","d":{"channel_id":"x","ack":true}}"#, Some(Operation::Subscribe(subscription(true)))),
            (r#"{"op":"UNSUBSCRIBE","d":{"channel_id":"x"}}"#, Some(Operation::Unsubscribe(subscription(false)))),
            (r#"["HEARTBEAT_ACK"]"#, None),
            (r#"["SUBSCRIBE",{"channel_id":"x"}]"#, None),
            (r#"{"op":"SUBSCRIBE","d":["x",true]}"#, None),
            (r#"{"op":"SUBSCRIBE","d":{"channel_id":"x","channel_id":"y"}}"#, None),
            (r#"{"op":"SUBSCRIBE","d":{"channel_id":"x"},"d":{"channel_id":"y"}}"#, None),
            (r#"{"op":"SUBSCRIBE","op":"UNSUBSCRIBE","d":{"channel_id":"x"}}"#, None),
            (r#"{"op":"SUBSCRIBE","d":{"channel_id":"x","ack":"yes"}}"#, None),
            (r#"{"op":"DANCE"}"#, None),
            ("", None),
        ] {
            assert_eq!(Operation::parse(text), expected, "{text}");
        }
        let deep = format!(r#"{{"op":"HEARTBEAT_ACK","d":{}"#, "[".repeat(16_000));
        assert_eq!(Operation::parse(&deep), None);
    }
}
