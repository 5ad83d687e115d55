//! Nothing is lost, nothing comes twice and nothing goes back, whatever dies meanwhile.
//!
//! The tests run in a short form. `scripts/faults` runs them for long: `PROGRESSD_FAULT_ROUNDS`,
//! `PROGRESSD_FAULT_WATCHERS` and so on say how long, and `PROGRESSD_FAULT_SEED` repeats what chance decided.

/// Runs tests over each of the stores that nodes share.
macro_rules! over_shared_stores {
    ($($test:ident)*) => {
        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(super::Backing::redis().await).await;
                }
            )*
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(super::Backing::postgres().await).await;
                }
            )*
        }
    };
}

mod backing;
mod check;
mod clocks;
mod distance;
mod kills;
mod lost_answers;
mod nodes;
mod poll;
mod proxied;
mod record;
mod run;
mod runners;
mod watch;
mod wire;
mod work;
mod world;

/// A number from the environment, or else this one.
fn setting(name: &str, default: u64) -> u64 {
    let name = format!("PROGRESSD_FAULT_{name}");
    match std::env::var(&name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => default,
    }
}
