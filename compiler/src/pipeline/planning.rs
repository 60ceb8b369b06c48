//! Plans of fits, and doing a share of them: see [`crate::spread`].

use std::rc::Rc;

use adntn_fit::gram::Gram;
use adntn_passes::{Candidate, has_own_bias};

use super::Run;
use crate::cache::{Key as Name, MADE_BY, kept_gram};
use crate::error::Error;
use crate::layer::{Layer, structure};
use crate::layout;
use crate::observer::{Event, Observer};
use crate::options::Options;
use crate::spread::{Plan, PlannedFit, Shard, Worked};
use crate::training::FitKind;

/// See [`crate::plan`].
pub(crate) fn plan(options: &Options, observer: &mut dyn Observer) -> Result<Plan, Error> {
    super::with_or_without_samples(options, observer, |run| run.plan())
}

/// See [`crate::work`].
pub(crate) fn work(options: &Options, plan: &Plan, shard: Shard, observer: &mut dyn Observer) -> Result<Worked, Error> {
    let result = Run::new(options, observer, Rc::default()).work(plan, shard);
    result.map_err(|error| error.in_model(&options.input))
}

impl Run<'_> {
    fn plan(mut self) -> Result<Plan, Error> {
        if self.options.fit == FitKind::EndToEnd {
            return Err(Error::Usage(
                "an end-to-end fit is one fit, of which nothing can be spread: leave --plan out, or fit layer by layer"
                    .into(),
            ));
        }
        self.needs_cache()?;
        let path = self.options.input.to_str().ok_or_else(|| {
            Error::Usage(format!(
                "{}: only names that are UTF-8 can stand in a plan: give the model another one",
                self.options.input.display()
            ))
        })?;
        let path = path.to_owned();
        let (model, survey) = self.survey()?;
        let (chosen, _) = self.filter(&survey);
        layout::check(&chosen, self.options)?;
        let digest = model.digest();
        self.model_name = Some(digest.into());
        let samples = self.samples(&model);
        let samples = self.of_original(samples)?;
        self.go_on()?;
        let layers = self.layers(&model, &chosen, samples.as_ref())?;
        let mut fits = Vec::new();
        let mut group = 0;
        for layer in layers.iter().filter(|layer| layer.has_gain()) {
            let statistics = match (&layer.gram, &samples) {
                (Some(_), Some(samples)) => self.kept_statistics(samples, &chosen, layer)?,
                _ => None,
            };
            // Without them nobody else could make its fits.
            if layer.gram.is_some() && statistics.is_none() {
                continue;
            }
            let statistics = statistics.map(|name| name.to_string());
            fits.extend(planned(layer, statistics.as_ref(), &mut group)?);
        }
        self.kept_everything()?;
        Ok(Plan {
            made_by: MADE_BY.to_owned(),
            model: path,
            model_digest: digest.to_string(),
            arguments: Vec::new(),
            fits,
        })
    }

    fn work(mut self, plan: &Plan, shard: Shard) -> Result<Worked, Error> {
        self.needs_cache()?;
        if plan.made_by != MADE_BY {
            return Err(Error::Usage(format!(
                "the plan is of adntn {}, and this is {MADE_BY}: write it again with this one",
                plan.made_by
            )));
        }
        // Nothing but the cache is written, so that there are no paths to check.
        let (model, survey) = self.opened()?;
        if model.digest().to_string() != plan.model_digest {
            return Err(Error::Usage(format!(
                "{}: this is not the model that the plan is for: write the plan again",
                self.options.input.display()
            )));
        }
        let structure = structure(&model);
        let mut worked = Worked::default();
        let mut last: Option<(&Candidate, Layer<'_>)> = None;
        for fit in plan.share(shard) {
            let other = || {
                Error::Usage(format!(
                    "the plan does not fit this model and these options at layer {}: write it again",
                    fit.layer
                ))
            };
            let candidate =
                survey.candidates.iter().find(|candidate| candidate.weight == fit.weight).ok_or_else(other)?;
            if last.as_ref().is_none_or(|(known, _)| known.id != candidate.id) {
                let gram = self.planned_gram(fit, candidate)?;
                let own = self.own(candidate);
                let layer = Layer::new(&model, candidate, gram, has_own_bias(&model, candidate), &own);
                last = Some((candidate, layer.with_cache(&self.cache, structure, own.seed)));
            }
            let Some((_, layer)) = &mut last else { continue };
            let known = fit.family < layer.families.len();
            if !known || layer.family_name(fit.family)?.map(|name| name.to_string()).as_ref() != Some(&fit.digest) {
                return Err(other());
            }
            self.observer.event(Event::Phase("fitting"));
            if layer.recall_family(fit.family)? {
                worked.found += 1;
            } else if layer.price_one(fit.family, self.observer)? {
                worked.made += 1;
            } else {
                return Err(Error::Interrupted);
            }
            self.kept_everything()?;
        }
        Ok(worked)
    }

    /// The name of a layer's statistics, where they are in the cache.
    fn kept_statistics(
        &self,
        samples: &crate::data::Samples,
        chosen: &[&Candidate],
        layer: &Layer<'_>,
    ) -> Result<Option<Name>, Error> {
        let name = self.statistics_of(samples, chosen, layer.candidate, layer.absorbs_mean);
        Ok(name.filter(|name| kept_gram(&self.cache, *name, layer.candidate).is_some()))
    }

    fn planned_gram(&self, fit: &PlannedFit, candidate: &Candidate) -> Result<Option<Gram>, Error> {
        let Some(statistics) = &fit.statistics else { return Ok(None) };
        let gram = Name::parse(statistics).and_then(|name| kept_gram(&self.cache, name, candidate));
        gram.map(Some).ok_or_else(|| {
            Error::Usage(format!(
                "the statistics of layer {} are not in the cache: give the --cache-dir that the plan was written with, or write \
                 the plan again",
                fit.layer
            ))
        })
    }

    fn needs_cache(&self) -> Result<(), Error> {
        if self.cache.is_on() {
            return Ok(());
        }
        Err(Error::Usage("a plan keeps what is shared in a cache, and there is none: give --cache-dir".into()))
    }

    /// What is not kept is lost to the others.
    fn kept_everything(&self) -> Result<(), Error> {
        if let Some((bytes, wanted)) = self.cache.refused() {
            return Err(Error::Usage(format!(
                "an entry of {bytes} bytes is too large for the cache, and what is shared has to lie there: allow {wanted} bytes with \
                 --cache-size at least"
            )));
        }
        self.cache.problem().map_or(Ok(()), |problem| {
            Err(Error::Usage(format!("{problem}, and what is shared has to lie there: give another --cache-dir")))
        })
    }
}

/// The fits of one layer: one for each family. Digits and low ranks begin with the same factorisations.
fn planned(layer: &Layer<'_>, statistics: Option<&String>, group: &mut usize) -> Result<Vec<PlannedFit>, Error> {
    let candidate = layer.candidate;
    let mut fits = Vec::new();
    let shared = *group;
    *group += 1;
    for (family, offered) in layer.families.iter().enumerate() {
        let (Some(name), Some(&finest)) = (layer.family_name(family)?, offered.steps().last()) else { continue };
        let own = match offered.networks() {
            Some(_) => {
                *group += 1;
                *group - 1
            }
            None => shared,
        };
        let (elements, inputs) = (candidate.elements() as f64, candidate.inputs as f64);
        fits.push(PlannedFit {
            digest: name.to_string(),
            layer: candidate.layer.clone(),
            weight: candidate.weight.clone(),
            family,
            finest: offered.describe(finest),
            statistics: statistics.cloned(),
            cost: elements * (inputs + candidate.outputs.min(candidate.inputs) as f64 * offered.steps().len() as f64),
            group: own,
        });
    }
    Ok(fits)
}
