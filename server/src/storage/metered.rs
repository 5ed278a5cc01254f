//! A store that counts and times its calls: a decorator around any other store.
//!
//! Metrics go to the recorder that the program installed, if it did; without one they cost next to nothing.

use std::{ops::Deref, sync::Arc, time::Instant};

use super::{Around, Storage, StorageError};

/// Histogram of seconds per store call, by `method` and `outcome`.
pub const CALL_SECONDS: &str = "decentcom_storage_call_seconds";

/// The decorator.
pub struct Metered(Arc<dyn Storage>);

impl Metered {
    /// Counts and times the calls to `store`.
    pub fn new(store: Arc<dyn Storage>) -> Self {
        Self(store)
    }
}

impl Around for Metered {
    fn inside(&self) -> impl Deref<Target = dyn Storage> + Send + Sync {
        &*self.0
    }

    async fn around<T: Send>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, StorageError>> + Send,
    ) -> Result<T, StorageError> {
        let began = Instant::now();
        let result = call.await;
        let outcome = result.as_ref().err().map_or("ok", StorageError::kind);
        metrics::histogram!(CALL_SECONDS, "method" => method, "outcome" => outcome).record(began.elapsed());
        result
    }
}
