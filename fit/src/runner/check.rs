//! Samples that no run of a model could take, told before one is tried.

use super::Loaded;
use super::axes::Dim;
use crate::data::Dataset;
use crate::error::Error;
use crate::text;

impl Loaded {
    /// Refuses samples that pick rows which a table of the model has not, or that give one extent two sizes.
    ///
    /// # Errors
    /// [`Error::Data`] naming the arrays or the table.
    pub fn check_data(&self, data: &Dataset) -> Result<(), Error> {
        self.check_extents(data)?;
        for (index, spec) in self.inputs.iter().enumerate() {
            let mut tables = self.tables.iter().filter(|t| t.input == spec.name).peekable();
            if tables.peek().is_none() {
                continue;
            }
            let Some((least, most)) = data.range(index) else { continue };
            let short = tables.find(|t| most >= t.rows as i128 || least < -(t.rows as i128));
            if let (Some(table), Some(path)) = (short, data.source()) {
                let value = if most >= table.rows as i128 { most } else { least };
                let problem = format!(
                    "array '{}' holds {value}, but table '{}' of node '{}' has {} rows: give numbers from 0 to {}",
                    text::name(&spec.name),
                    text::name(&table.table),
                    text::name(&table.node),
                    table.rows,
                    table.rows.saturating_sub(1)
                );
                return Err(Error::Data { path: path.to_path_buf(), problem });
            }
        }
        Ok(())
    }

    fn check_extents(&self, data: &Dataset) -> Result<(), Error> {
        let mut known: Vec<(&str, usize, &str)> = Vec::new();
        for ((spec, dims), shape) in self.inputs.iter().zip(&self.dims).zip(data.shapes(1)) {
            for (axis, (dim, size)) in dims.iter().zip(shape).enumerate() {
                let Dim::Named(name) = dim else { continue };
                if spec.sample_axis == Some(axis) {
                    continue;
                }
                match (known.iter().find(|k| k.0 == name), data.source()) {
                    (Some(&(_, other, array)), Some(path)) if other != size => {
                        let problem = format!(
                            "array '{}' has {size} where the model says '{}', array '{}' has {other}: give them the same extent",
                            text::name(&spec.name),
                            text::name(name),
                            text::name(array)
                        );
                        return Err(Error::Data { path: path.to_path_buf(), problem });
                    }
                    (Some(_), _) => {}
                    (None, _) => known.push((name, size, &spec.name)),
                }
            }
        }
        Ok(())
    }
}
