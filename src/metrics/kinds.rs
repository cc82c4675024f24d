//! The kinds of metrics, and how one is made: registered at once, so that none can be forgotten.

use std::cell::RefCell;
use std::sync::Arc;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// What a metric is, for the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its whole name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// What it means.
    pub help: String,
}

/// The type of each kind of [`Builder`]'s.
macro_rules! type_of {
    (counter) => {
        prometheus::IntCounter
    };
    (counters) => {
        prometheus::IntCounterVec
    };
    (pairs) => {
        prometheus::IntCounterVec
    };
    (gauge) => {
        prometheus::IntGauge
    };
    (ratio) => {
        prometheus::Gauge
    };
    (gauges) => {
        prometheus::IntGaugeVec
    };
    (optional) => {
        prometheus::IntGaugeVec
    };
    (histogram) => {
        prometheus::Histogram
    };
    (histograms) => {
        prometheus::HistogramVec
    };
}
pub(super) use type_of;

/// Registers while building.
#[derive(Default)]
pub(super) struct Builder {
    registry: Registry,
    families: RefCell<Vec<Family>>,
}

impl Builder {
    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let metric = made.expect("metric names and labels are constants, checked by the tests");
        self.registry
            .register(Box::new(metric.clone()))
            .expect("every metric is registered once");
        let kinds = metric.collect();
        let kind = kinds.first().map(|family| family.get_field_type());
        let described = metric.desc().into_iter().map(|desc| Family {
            name: desc.fq_name.clone(),
            kind: format!("{:?}", kind.unwrap_or_default()).to_lowercase(),
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        });
        self.families.borrow_mut().extend(described);
        metric
    }

    /// What was built, and what each of it is.
    pub(super) fn end(self) -> (Registry, Arc<[Family]>) {
        (self.registry, self.families.take().into())
    }

    pub(super) fn build_info(&self) {
        let version = env!("CARGO_PKG_VERSION");
        let help = "The version of this binary; always 1.";
        let info = self.gauges("build_info", help, "version", [version]);
        info.with_label_values(&[version]).set(1);
    }

    /// What the system says of the process.
    pub(super) fn process(&self) {
        #[cfg(target_os = "linux")]
        self.registry
            .register(Box::new(
                prometheus::process_collector::ProcessCollector::for_self(),
            ))
            .expect("the process collector is registered once");
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(opts(name, help)))
    }

    pub(super) fn counters<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: [&str; N],
    ) -> IntCounterVec {
        shown(
            self.register(IntCounterVec::new(opts(name, help), &[label])),
            values,
        )
    }

    /// With two labels: each value of the first beside each of the second.
    pub(super) fn pairs<const N: usize, const M: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        first: [&str; N],
        second: [&str; M],
    ) -> IntCounterVec {
        let family = self.register(IntCounterVec::new(opts(name, help), &labels));
        for (one, other) in first
            .iter()
            .flat_map(|one| second.map(|other| (*one, other)))
        {
            family.with_label_values(&[one, other]);
        }
        family
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(opts(name, help)))
    }

    pub(super) fn ratio(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::with_opts(opts(name, help)))
    }

    pub(super) fn gauges<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: [&str; N],
    ) -> IntGaugeVec {
        shown(
            self.register(IntGaugeVec::new(opts(name, help), &[label])),
            values,
        )
    }

    /// A gauge that is not shown before it is set.
    pub(super) fn optional(&self, name: &str, help: &str) -> IntGaugeVec {
        self.register(IntGaugeVec::new(opts(name, help), &[]))
    }

    pub(super) fn histogram<const N: usize>(
        &self,
        name: &str,
        help: &str,
        buckets: [f64; N],
    ) -> Histogram {
        self.register(Histogram::with_opts(histogram_opts(name, help, &buckets)))
    }

    pub(super) fn histograms<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        buckets: [f64; N],
    ) -> HistogramVec {
        self.register(HistogramVec::new(
            histogram_opts(name, help, &buckets),
            &[label],
        ))
    }
}

/// These values are shown as 0 from the start, so that a rate is never undefined.
fn shown<T: MetricVecBuilder, const N: usize>(
    family: MetricVec<T>,
    values: [&str; N],
) -> MetricVec<T> {
    for value in values {
        family.with_label_values(&[value]);
    }
    family
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("hookwell")
}

fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec())
}
