//! Numbers as people read them.

/// `8.4 s`, `2 min 05 s`, `1 h 01 min`.
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// `512 B`, `4.1 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if amount < 1000.0 {
            let digits = usize::from(unit != "B");
            return format!("{amount:.digits$} {unit}");
        }
        amount /= 1000.0;
    }
    format!("{amount:.1} TB")
}

/// `1 stem`, `4 stems`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(
            [0.04, 59.9, 125.0, 3660.0].map(seconds),
            ["0.0 s", "1 min 00 s", "2 min 05 s", "1 h 01 min"]
        );
        assert_eq!(
            [0, 999, 4_120_000, 7_000_000_000_000].map(bytes),
            ["0 B", "999 B", "4.1 MB", "7.0 TB"]
        );
        assert_eq!((count(1, "stem"), count(4, "stem")), ("1 stem".into(), "4 stems".into()));
    }
}
