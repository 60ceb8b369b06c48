//! σ: the elementwise function between the levels of a generator.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Real};

/// Negative slope of [`Activation::LeakyRelu`]; the default `alpha` of ONNX's LeakyRelu.
pub const LEAKY_SLOPE: f64 = 0.01;

/// An elementwise function whose derivative follows from its output value, so that a backward sweep needs no input values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Activation {
    /// σ(z) = z.
    Identity,
    /// σ(z) = tanh z.
    Tanh,
    /// σ(z) = max(z, 0).
    Relu,
    /// σ(z) = z for z > 0, else [`LEAKY_SLOPE`]·z.
    LeakyRelu,
    /// σ(z) = z / (1 + |z|).
    Softsign,
}

impl Activation {
    /// Every activation.
    pub const ALL: &'static [Activation] =
        &[Activation::Identity, Activation::Tanh, Activation::Relu, Activation::LeakyRelu, Activation::Softsign];

    /// Name as written in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::Tanh => "tanh",
            Activation::Relu => "relu",
            Activation::LeakyRelu => "leaky-relu",
            Activation::Softsign => "softsign",
        }
    }

    /// σ(z).
    #[inline(always)]
    pub fn value<T: Real>(self, z: T) -> T {
        match self {
            Activation::Identity => z,
            Activation::Tanh => z.tanh(),
            Activation::Relu => {
                if z > T::ZERO {
                    z
                } else {
                    T::ZERO
                }
            }
            Activation::LeakyRelu => {
                if z > T::ZERO {
                    z
                } else {
                    z * T::from_f64(LEAKY_SLOPE)
                }
            }
            Activation::Softsign => z / (T::ONE + z.abs()),
        }
    }

    /// dσ/dz, from y = σ(z): tanh 1 − y², softsign (1 − |y|)², relu and leaky relu by the sign of y (0 counts as negative).
    #[inline(always)]
    pub fn derivative<T: Real>(self, y: T) -> T {
        match self {
            Activation::Identity => T::ONE,
            Activation::Tanh => T::ONE - y * y,
            Activation::Relu => {
                if y > T::ZERO {
                    T::ONE
                } else {
                    T::ZERO
                }
            }
            Activation::LeakyRelu => {
                if y > T::ZERO {
                    T::ONE
                } else {
                    T::from_f64(LEAKY_SLOPE)
                }
            }
            Activation::Softsign => {
                let rest = T::ONE - y.abs();
                rest * rest
            }
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Activation::ALL.iter().copied().find(|a| a.name() == text).ok_or_else(|| Error::UnknownName {
            what: "activation",
            given: text.to_owned(),
            known: "identity, tanh, relu, leaky-relu, softsign",
        })
    }
}
