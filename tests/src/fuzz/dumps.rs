//! Dumps, compressed or not, as `dcstore load` reads them before it changes anything.

pub(super) fn run(bytes: &[u8]) {
    if let Err(failure) = dcstore::check_dump(bytes.to_vec()) {
        assert!(!failure.message.is_empty());
    }
}

/// The text as a file, and in every place of a record where one can stand. The trailer is that of another dump, which is
/// seen only after every line was read.
pub(super) fn around(text: &str) -> Vec<Vec<u8>> {
    let value = serde_json::Value::from(text);
    let header = r#"{"dcstore":{"format":1,"tool":"fuzz","backend":"redb","schema":"format 1","time":"2024-01-01T00:00:00.000Z","tables":["meta","users","channels","categories","messages"],"redacted":false}}"#;
    let trailer =
        r#"{"trailer":{"records":{"meta":0,"users":1,"channels":1,"categories":0,"messages":1},"sha256":"00"}}"#;
    let (id, time) = ("01HK153X000000000000000000", "2024-01-01T00:00:00.000Z");
    let user = format!(
        r#"{{"table":"users","id":"{id}","pubkey":{value},"display_name":{value},"avatar_hash":null,"created_at":"{time}","updated_at":"{time}"}}"#
    );
    let channel = format!(
        r#"{{"table":"channels","id":"{id}","name":{value},"topic":{value},"category_id":{value},"position":0,"created_at":"{time}","updated_at":"{time}"}}"#
    );
    let message = format!(
        r#"{{"table":"messages","id":"{id}","channel_id":"{id}","author_id":"{id}","content":{value},"edited_at":null,"deleted":false,"created_at":"{time}"}}"#
    );
    vec![
        text.into(),
        format!("{header}\n{user}\n{channel}\n{message}\n{trailer}\n").into(),
        format!("{header}\n{{\"table\":{value}}}\n{trailer}\n").into(),
        format!("{{\"dcstore\":{{\"format\":1,\"tool\":{value},\"time\":{value},\"tables\":[{value}]}}}}\n").into(),
    ]
}
