//! Values of options, read from text.

use std::time::Duration;

use adntn_compiler::Metric;

/// Parses `0.01` or `1%`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |n| (n, 100.0));
    match number.trim().parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&(value / whole)) => Ok(value / whole),
        _ => Err("give a share between 0 and 1, or percent such as 1%".into()),
    }
}

/// Parses a share above 0 and below 1.
pub(super) fn confidence(text: &str) -> Result<f64, String> {
    share(text)
        .ok()
        .filter(|&c| c > 0.0 && c < 1.0)
        .ok_or_else(|| "give a share above 0% and below 100%, such as 95%".into())
}

/// Parses `top-class` or `scores=top-class`.
pub(super) fn metric(text: &str) -> Result<(Option<String>, Metric), String> {
    match text.rsplit_once('=') {
        Some((output, name)) => Ok((Some(output.to_owned()), name.parse()?)),
        None => Ok((None, text.parse()?)),
    }
}

pub(super) fn number(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|r: &f32| r.is_finite()).ok_or_else(|| "give a number".into())
}

/// Parses a ratio of 1 or more.
pub(super) fn ratio(text: &str) -> Result<f64, String> {
    text.trim_end_matches(['x', '×'])
        .parse()
        .ok()
        .filter(|r: &f64| r.is_finite() && *r >= 1.0)
        .ok_or_else(|| "give a number of 1 or more".into())
}

/// Parses `90`, `90s`, `10m` or `1.5h`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wanted = || "give a time such as 90s, 10m or 1.5h".to_owned();
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wanted()),
    };
    let time = number.trim().parse::<f64>().map_err(|_| wanted())? * seconds;
    Duration::try_from_secs_f64(time).ok().filter(|time| !time.is_zero()).ok_or_else(wanted)
}

/// Parses `16000`, `16kB`, `1.3MB` or `16KiB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let wanted = || "give a number of bytes such as 16000, 16kB or 1.3MB".to_owned();
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let each = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        _ => return Err(wanted()),
    };
    let bytes = number.trim().parse::<f64>().map_err(|_| wanted())? * each;
    if (1.0..=9e15).contains(&bytes) { Ok(bytes as u64) } else { Err(wanted()) }
}

/// Parses `224` or `224x160`.
pub(super) fn size(text: &str) -> Result<(usize, usize), String> {
    let (height, width) = text.split_once(['x', '×']).unwrap_or((text, text));
    let side = |text: &str| text.trim().parse().ok().filter(|n| (1..=1 << 14).contains(n));
    side(height).zip(side(width)).ok_or_else(|| "give a number of pixels, or height and width such as 224x160".into())
}

pub(super) fn positive(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|r: &f32| r.is_finite() && *r > 0.0).ok_or_else(|| "give a positive number".into())
}

/// Parses `value=0.5`.
pub(super) fn weighted(text: &str) -> Result<(String, f32), String> {
    let (name, weight) = text.rsplit_once('=').unwrap_or((text, "1"));
    Ok((name.to_owned(), positive(weight)?))
}

pub(super) fn named<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: T::Err| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes() {
        assert_eq!(time("90"), Ok(Duration::from_secs(90)));
        assert_eq!(time("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(time("10 m"), Ok(Duration::from_secs(600)));
        assert!(["0", "-1s", "10 parsecs", "", "s", "NaN", "inf"].iter().all(|t| time(t).is_err()));
        assert_eq!(bytes("16kB"), Ok(16_000));
        assert_eq!(bytes("1.3 MB"), Ok(1_300_000));
        assert_eq!(bytes("16KiB"), Ok(16_384));
        assert!(["0", "-1", "1 byte or so", "", "kB", "NaN", "inf"].iter().all(|t| bytes(t).is_err()));
    }

    #[test]
    fn shares_and_percent() {
        assert_eq!(share("0.02"), Ok(0.02));
        assert_eq!(share("2%"), Ok(0.02));
        assert_eq!(share("95%"), Ok(0.95));
        assert!(share("2").is_err() && share("-1%").is_err() && share("NaN").is_err() && share("x").is_err());
    }
}
