//! The traits of the contract, each declared once: `stores!` makes of a declaration the trait, and forwards its calls to the
//! store inside whatever is [`Around`] another.
//!
//! ```text
//!  stores! { pub trait UserStore … }  traits.rs ──> trait UserStore      (front/ gives it its meaning)
//!                                               └─> impl UserStore for every Around: around("create_user", inside().create_user(…))
//! ```

use std::{ops::Deref, time::Duration};

use async_trait::async_trait;

use crate::storage::{Backend, ChangeFeed, Condition, Storage, StorageError, Timestamp};

/// A store around another one: each call is made of the store inside, with something done around it. Whoever implements
/// this is a [`Storage`]; which methods there are, only `traits.rs` says.
pub trait Around: Send + Sync {
    /// The store inside.
    fn inside(&self) -> impl Deref<Target = dyn Storage> + Send + Sync;

    /// Awaits `call`, of the method with this name, and does something before or after. What is [inside](Self::inside) is
    /// asked for when `call` is awaited, not before.
    fn around<T: Send>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, StorageError>> + Send,
    ) -> impl Future<Output = Result<T, StorageError>> + Send;

    /// The changes that subscribers hear of: those of the store inside, unless somebody knows better.
    fn feed(&self) -> ChangeFeed {
        self.inside().changes()
    }
}

#[async_trait]
impl<A: Around> Storage for A {
    async fn ping(&self) -> Result<(), StorageError> {
        self.around("ping", async { self.inside().ping().await }).await
    }

    async fn probe(&self, within: Duration) -> Result<Timestamp, StorageError> {
        self.around("probe", async { self.inside().probe(within).await }).await
    }

    async fn close(&self) -> Result<(), StorageError> {
        self.around("close", async { self.inside().close().await }).await
    }

    fn backend(&self) -> Backend {
        self.inside().backend()
    }

    fn condition(&self) -> Condition {
        self.inside().condition()
    }

    fn changes(&self) -> ChangeFeed {
        self.feed()
    }
}

/// Declares the traits of the contract. They are written as any trait, with `async fn`s that answer a `Result`; what is
/// written comes out unchanged, but for
///
/// - `#[async_trait]`, so that they can be called through `dyn Storage`;
/// - `Storage: all of these`, which stands first, and comes out with the names of all the others;
/// - an `impl` of each for everything that is [`Around`] a store: there, a method that ends with `;` is called of the store
///   inside, and one that has a body has it.
macro_rules! stores {
    (
        $(#[$about_all:meta])*
        pub trait Storage: all of these { $($all:tt)* }

        $(
            $(#[$about:meta])*
            pub trait $store:ident: Send + Sync {
                $(
                    $(#[$meaning:meta])*
                    async fn $method:ident(
                        &$this:ident $(, $argument:ident: $type:ty)* $(,)?
                    ) -> Result<$answer:ty, StorageError> $body:tt
                )*
            }
        )+
    ) => {
        $(#[$about_all])*
        #[async_trait]
        pub trait Storage: $($store +)+ { $($all)* }

        $(
            $(#[$about])*
            #[async_trait]
            pub trait $store: Send + Sync {
                $(
                    $(#[$meaning])*
                    async fn $method(&$this $(, $argument: $type)*) -> Result<$answer, StorageError> $body
                )*
            }

            #[async_trait]
            impl<A: $crate::storage::Around> $store for A {
                $(
                    async fn $method(&$this $(, $argument: $type)*) -> Result<$answer, StorageError> {
                        stores!(@the $body or {
                            let call = async move { $this.inside().$method($($argument),*).await };
                            $this.around(stringify!($method), call).await
                        })
                    }
                )*
            }
        )+
    };
    (@the ; or $forwarded:block) => { $forwarded };
    (@the $own:block or $forwarded:block) => { $own };
}
pub(in crate::storage) use stores;
