//! Users: the queries that are this backend's own.

use std::sync::{Arc, LazyLock};

use sqlx::SqliteConnection;

use super::rows::{self, APPLIED, made, statements, view_of_records};
use crate::storage::{
    StorageError, User, UserId,
    contract::field::FieldType as _,
    port::{Rows, View, Wants},
};

/// `is_member = 1` is literal: a bound value would lose the partial index.
static MEMBERS: LazyLock<&str> = LazyLock::new(|| {
    let columns = &statements::<User>().columns;
    let from = "FROM users INDEXED BY idx_users_members";
    made(format!("SELECT {columns}, {APPLIED} {from} WHERE is_member = 1 AND id > ? ORDER BY id LIMIT ?"))
});

/// Members above `after`, by id.
pub(super) async fn members(
    connection: &mut SqliteConnection,
    after: Option<UserId>,
    limit: u32,
) -> Result<View<Vec<User>>, StorageError> {
    let query =
        sqlx::query(*MEMBERS).bind(after.map(|after| after.to_string()).unwrap_or_default()).bind(i64::from(limit));
    view_of_records(connection, "list members", query).await
}

/// Users by public key.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    wants: &Wants,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    for pubkey in &wants.pubkeys {
        if let Some(user) = rows::find::<User>(connection, &User::BY_PUBKEY, pubkey.value(), 1).await?.shows.pop() {
            rows.pubkeys.insert(user.pubkey.clone(), user.id);
            rows.put(Arc::new(user));
        }
    }
    Ok(())
}
