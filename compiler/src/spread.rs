//! Fits that several processes share: a plan names them, each process does a share of them into one cache folder, and a compilation
//! with that cache finds them there.
//!
//! What is spread is everything on offer for each layer: a function of its weight and of the statistics of its inputs, which the plan
//! leaves in the cache too. So who does a share needs the model, the plan and the folder, and no samples.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use adntn_onnx::{StagedFile, commit_all};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::observer::Observer;
use crate::options::Options;
use crate::pipeline;

/// Plans are no larger.
const LARGEST: u64 = 1 << 28;

/// The independent fits of a compilation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The version of adntn that wrote it, and of its sources: others would name fits otherwise.
    pub made_by: String,
    /// Path of the model.
    pub model: String,
    /// Names the content of the model.
    pub model_digest: String,
    /// The options of the compilation as arguments of the command, for whoever calls that.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// The fits, in the order of the layers.
    pub fits: Vec<PlannedFit>,
}

/// A fit: all steps of one family for one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlannedFit {
    /// Its name in the cache.
    pub digest: String,
    /// The layer.
    pub layer: String,
    /// Its weight.
    pub weight: String,
    /// The number of the family among those on offer for the layer.
    pub family: usize,
    /// The finest of it, in words.
    pub finest: String,
    /// The name in the cache of the statistics that it needs; absent where there are none.
    pub statistics: Option<String>,
    /// About how much work it is, beside the others.
    pub cost: f64,
    /// Fits of a layer with the same number have much in common and are done by one process.
    pub group: usize,
}

/// Which share of a plan: number `number`, from 1 on, of `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

impl Shard {
    /// All of it.
    pub const ALL: Shard = Shard { number: 1, of: 1 };
    /// Most shares.
    const MOST: usize = 1 << 20;
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("`{text}` is no share of a plan: give K/N with K from 1 to N, such as 1/4");
        let number =
            |text: &str| text.parse::<usize>().ok().filter(|n| text.bytes().all(|b| b.is_ascii_digit()) && *n > 0);
        let (k, n) = text.split_once('/').ok_or_else(wanted)?;
        let (number, of) = number(k).zip(number(n)).ok_or_else(wanted)?;
        if number > of || of > Self::MOST { Err(wanted()) } else { Ok(Shard { number, of }) }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// What came of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Worked {
    /// Fits made.
    pub made: usize,
    /// Fits that were in the cache before.
    pub found: usize,
}

/// Works out which fits the compilation that `options` ask for can spread, and leaves the statistics that they need in the cache.
///
/// # Errors
/// As for [`compile`](crate::compile); [`Error::Usage`] where there is no cache, or it cannot be written.
pub fn plan(options: &Options, observer: &mut dyn Observer) -> Result<Plan, Error> {
    pipeline::plan(options, observer)
}

/// Does a share of a plan into the cache that `options` name. They have to be those that the plan was made with, as far as layers and
/// what is on offer for them go.
///
/// # Errors
/// [`Error::Usage`] where the plan is for another model, other options or another version, where the statistics that it needs are not
/// in the cache, and where that cannot be written; [`Error::Interrupted`] when the observer ends it.
pub fn work(options: &Options, plan: &Plan, shard: Shard, observer: &mut dyn Observer) -> Result<Worked, Error> {
    pipeline::work(options, plan, shard, observer)
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// [`Error::Usage`] with the path where there is none.
    pub fn read(path: &Path) -> Result<Plan, Error> {
        let refused =
            |problem: String| Error::Usage(format!("{}: {problem}: write a plan with --plan", path.display()));
        let failed = |error: std::io::Error| refused(format!("the plan cannot be read ({error})"));
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(refused("this is no plan".into()));
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        serde_json::from_slice(&bytes).map_err(|error| refused(format!("this is no plan ({error})")))
    }

    /// Writes the plan, or leaves what is there.
    ///
    /// # Errors
    /// [`Error::Model`] where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let json = serde_json::to_string_pretty(self).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(commit_all(vec![StagedFile::new(path, (json + "\n").as_bytes())?])?)
    }

    /// The fits of a share. The dearest groups are dealt first, each to the share that has the least to do so far.
    #[must_use]
    pub fn share(&self, shard: Shard) -> Vec<&PlannedFit> {
        let mut costs: BTreeMap<usize, f64> = BTreeMap::new();
        for fit in &self.fits {
            *costs.entry(fit.group).or_default() += if fit.cost.is_finite() { fit.cost.max(0.0) } else { 0.0 };
        }
        let mut groups: Vec<(usize, f64)> = costs.into_iter().collect();
        groups.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut shares = vec![0.0; shard.of.min(groups.len().max(1))];
        let mut own = Vec::new();
        for (group, cost) in groups {
            let least = (0..shares.len()).min_by(|&a, &b| f64::total_cmp(&shares[a], &shares[b])).unwrap_or(0);
            shares[least] += cost;
            if least + 1 == shard.number {
                own.push(group);
            }
        }
        self.fits.iter().filter(|fit| own.contains(&fit.group)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_numbered_from_one() {
        for (text, shard) in [("1/1", Shard::ALL), ("4/4", Shard { number: 4, of: 4 })] {
            assert_eq!(text.parse(), Ok(shard));
            assert_eq!(shard.to_string(), text);
        }
        for text in ["", "x", "0/4", "5/4", "1/0", "-1/4", "+1/4", "1/4/5", "1", "/", "1.0/2", "1/99999999"] {
            assert!(text.parse::<Shard>().is_err_and(|error| error.contains("1/4")), "{text}");
        }
    }

    #[test]
    fn every_fit_is_in_one_share_and_groups_stay_together() {
        let fit = |number: usize| PlannedFit {
            digest: number.to_string(),
            layer: String::new(),
            weight: String::new(),
            family: 0,
            finest: String::new(),
            statistics: None,
            cost: (number * 7 % 5) as f64,
            group: number / 2,
        };
        let fits = (0..11).map(fit).collect();
        let text = String::new;
        let plan = Plan { made_by: text(), model: text(), model_digest: text(), arguments: Vec::new(), fits };
        for of in [1, 2, 3, 20] {
            let shares: Vec<_> = (1..=of).map(|number| plan.share(Shard { number, of })).collect();
            let mut all: Vec<&str> = shares.iter().flatten().map(|fit| fit.digest.as_str()).collect();
            all.sort_unstable();
            all.dedup();
            assert_eq!((all.len(), shares.iter().map(Vec::len).sum::<usize>()), (11, 11));
            for share in &shares {
                let groups =
                    |fits: &[&PlannedFit]| fits.iter().map(|fit| fit.group).collect::<std::collections::BTreeSet<_>>();
                let own = groups(share);
                assert!(shares.iter().filter(|other| !groups(other).is_disjoint(&own)).count() <= 1);
            }
        }
    }
}
