//! What a backend outside of this repository writes to be held to the contract. The store under test is one of this
//! repository's behind a decorator, which has to keep every promise as well.

use std::{path::Path, sync::Arc};

use decentcom_server::storage::{self, Backend, ManualClock, Metered};
use decentcom_tests::{Kept, Opened, Provider, async_trait, run_suite};

struct Decorated;

#[async_trait]
impl Provider for Decorated {
    fn name(&self) -> &str {
        "decorated"
    }

    fn kept(&self) -> Kept {
        Kept::Nowhere
    }

    async fn open(&self, _directory: &Path, clock: Arc<ManualClock>) -> Opened {
        let store = storage::open_in_memory(Backend::Redb, clock).await?;
        Ok(Arc::new(Metered::new(store)))
    }
}

fn main() {
    run_suite(&[&Decorated]);
}
