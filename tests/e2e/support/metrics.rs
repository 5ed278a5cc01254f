//! What the server measures, as Prometheus would read it.

use std::time::{Duration, Instant};

use super::Server;

/// How long a figure may take to become what it should be, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The setting that makes a server answer them.
pub(crate) const METERED: (&str, &str) = ("DECENTCOM_METRICS__BIND_ADDRESS", "127.0.0.1:0");

/// All of it at one moment.
pub(crate) struct Scrape(String);

impl Server {
    /// Reads the metrics of a server that is [`METERED`].
    pub(crate) async fn scrape(&self) -> Scrape {
        let log = self.log();
        let (_, address) = log.split_once("metrics on http://").expect("the log says where the metrics are");
        let address = address.split_whitespace().next().unwrap();
        Scrape(reqwest::get(format!("http://{address}")).await.unwrap().text().await.unwrap())
    }

    /// Waits until the metrics are as they should be; what they are if they never do.
    pub(crate) async fn until(&self, is_right: impl Fn(&Scrape) -> bool) -> Scrape {
        let began = Instant::now();
        loop {
            let scrape = self.scrape().await;
            if is_right(&scrape) {
                return scrape;
            }
            assert!(began.elapsed() < PATIENCE, "{}\n{}", scrape.0, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Scrape {
    /// Every line that is a figure: name, labels as they stand there, value.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (&str, &str, f64)> {
        self.0.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            (name, labels.trim_end_matches('}'), value.parse().unwrap())
        })
    }

    /// The sum of a metric's figures that have all of these labels, each `name="value"`; nothing where there are none.
    pub(crate) fn get(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let has = |found: &str| labels.iter().all(|label| found.split(',').any(|it| it == *label));
        let found: Vec<f64> =
            self.figures().filter(|(it, found, _)| *it == name && has(found)).map(|(_, _, value)| value).collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    /// The same, of a figure that is there.
    pub(crate) fn value(&self, name: &str, labels: &[&str]) -> f64 {
        self.get(name, labels).unwrap_or_else(|| panic!("{name} {labels:?} is not in:\n{}", self.0))
    }

    /// The kind that a metric says it is of.
    pub(crate) fn kind(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)?.strip_prefix(' '))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}
