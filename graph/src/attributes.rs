//! A node's attributes, read with their types.

use adntn_onnx::pb::attribute_proto::AttributeType;
use adntn_onnx::{Model, pb};

use crate::error::{Problem, refuse};

/// A node and the operator set that gives it its meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    pub model: &'a Model,
    pub proto: &'a pb::NodeProto,
    pub opset: i64,
}

impl<'a> Node<'a> {
    pub(crate) fn attribute(&self, name: &str) -> Option<&'a pb::AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name() == name)
    }

    fn typed(&self, name: &str, expected: AttributeType) -> Result<Option<&'a pb::AttributeProto>, Problem> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        // Old files leave the type out.
        if attribute.r#type.is_some_and(|found| found != expected as i32 && found != 0) {
            refuse!("attribute {name} has an unexpected type");
        }
        Ok(Some(attribute))
    }

    pub(crate) fn int(&self, name: &str) -> Result<Option<i64>, Problem> {
        Ok(self.typed(name, AttributeType::Int)?.map(pb::AttributeProto::i))
    }

    pub(crate) fn int_or(&self, name: &str, default: i64) -> Result<i64, Problem> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        Ok(self.int_or(name, 0)? != 0)
    }

    pub(crate) fn float(&self, name: &str) -> Result<Option<f32>, Problem> {
        Ok(self.typed(name, AttributeType::Float)?.map(pb::AttributeProto::f))
    }

    pub(crate) fn float_or(&self, name: &str, default: f32) -> Result<f32, Problem> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    pub(crate) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Problem> {
        Ok(self.typed(name, AttributeType::Ints)?.map(|attribute| attribute.ints.clone()))
    }

    /// Text, or `default` where there is none; text that is not UTF-8 is refused.
    pub(crate) fn text_or(&self, name: &str, default: &'a str) -> Result<&'a str, Problem> {
        let Some(attribute) = self.typed(name, AttributeType::String)? else { return Ok(default) };
        std::str::from_utf8(attribute.s()).map_err(|_| format!("attribute {name} is not text").into())
    }
}
