use std::collections::BTreeMap;

/// What a process says at `/metrics`, read strictly: what Prometheus would refuse, this does.
#[derive(Debug)]
pub struct Metrics(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads the text format.
    ///
    /// # Panics
    /// If a line is not of that format, a sample comes before what says its type, or a series twice.
    pub fn read(text: &str) -> Self {
        let mut types: BTreeMap<&str, &str> = BTreeMap::new();
        let mut samples: Vec<Sample> = Vec::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let words: Vec<&str> = comment.splitn(3, ' ').collect();
                match words[..] {
                    ["TYPE", name, kind] => {
                        assert_eq!(types.insert(name, kind), None, "{name} has two types");
                    }
                    ["HELP", _, help] => assert!(!help.is_empty(), "{line}"),
                    _ => panic!("not a comment that means anything: {line}"),
                }
                continue;
            }
            let sample = Sample::read(line);
            let stem = ["_bucket", "_sum", "_count"];
            let stem = stem.iter().find_map(|end| sample.name.strip_suffix(end));
            let is_known = |name: &str| types.contains_key(name);
            assert!(is_known(&sample.name) || stem.is_some_and(is_known), "no type: {line}");
            let is_same =
                |other: &Sample| other.name == sample.name && other.labels == sample.labels;
            assert!(!samples.iter().any(is_same), "twice: {line}");
            samples.push(sample);
        }
        Self(samples)
    }

    /// The sum of all samples of that name that have these labels; `None` if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &Sample, (label, value): &(&str, &str)| {
            sample.labels.get(*label).is_some_and(|found| found == value)
        };
        let mut found = self
            .0
            .iter()
            .filter(|sample| sample.name == name && labels.iter().all(|label| has(sample, label)));
        let first = found.next()?.value;
        Some(found.fold(first, |sum, sample| sum + sample.value))
    }

    /// The values of a label, wherever it stands.
    pub fn values_of(&self, label: &str) -> Vec<&str> {
        self.0.iter().filter_map(|sample| sample.labels.get(label)).map(String::as_str).collect()
    }
}

impl Sample {
    fn read(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("a set of labels ends")),
            None => (series, ""),
        };
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(!name.is_empty() && name.chars().all(is_name), "not a name: {line}");
        let labels = labels.split_terminator("\",").map(|label| {
            let (label, value) = label.split_once("=\"").expect("a label has a value");
            (label.to_owned(), value.trim_end_matches('"').to_owned())
        });
        Self { name: name.to_owned(), labels: labels.collect(), value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_by_their_labels() {
        let text = "# HELP a_total So.\n# TYPE a_total counter\na_total{b=\"1\",c=\"x,y\"} 2\na_total{b=\"2\",c=\"z\"} 0.5\n";
        let metrics = Metrics::read(text);
        assert_eq!(metrics.sum("a_total", &[]), Some(2.5));
        assert_eq!(metrics.sum("a_total", &[("c", "x,y")]), Some(2.0));
        assert_eq!(metrics.sum("a_total", &[("c", "x")]), None);
        assert_eq!(metrics.values_of("b"), ["1", "2"]);
    }

    #[test]
    #[should_panic(expected = "no type")]
    fn a_sample_without_a_type_is_refused() {
        Metrics::read("a_total 1\n");
    }
}
