//! Memory for tensors, whole cache lines: vectors of 64 bytes that cross lines take twice as long to load.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;

use crate::Real;

/// Buffers of at least this many bytes are mapped, and ask the system for large pages: passes that take rows from all over a
/// tensor would otherwise wait for the processor's page tables.
const MAPPED: usize = 1 << 22;

/// A cache line.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

impl Line {
    /// As many lines as `len` elements take.
    pub fn count<T>(len: usize) -> usize {
        (len * size_of::<T>()).div_ceil(size_of::<Line>())
    }
}

/// A tensor's elements; contents are lost when the length changes.
pub(crate) struct Buffer<T> {
    memory: Memory,
    len: usize,
    elements: PhantomData<T>,
}

enum Memory {
    Heap(Vec<Line>),
    /// At least `len` elements.
    Mapped(MmapMut),
}

impl<T: Real> Buffer<T> {
    /// Gives the buffer `len` elements; unchanged if it has as many. Memory is kept unless it is too small.
    pub fn resize(&mut self, len: usize) {
        if self.len == len {
            return;
        }
        let (bytes, lines) = (len * size_of::<T>(), Line::count::<T>(len));
        match &mut self.memory {
            Memory::Heap(vec) if bytes < MAPPED || lines <= vec.capacity() => vec.resize(lines, Line::zeroed()),
            Memory::Mapped(map) if bytes <= map.len() => {}
            memory => *memory = map(bytes).map_or_else(|| Memory::Heap(vec![Line::zeroed(); lines]), Memory::Mapped),
        }
        self.len = len;
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match &self.memory {
            Memory::Heap(vec) => vec.capacity() * size_of::<Line>(),
            Memory::Mapped(map) => map.len(),
        }
    }
}

/// Zeroed memory on large pages; none if the system has no memory to map.
fn map(bytes: usize) -> Option<MmapMut> {
    let map = MmapMut::map_anon(bytes).ok()?;
    // Refused where large pages are unknown; then pages are small.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Some(map)
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Buffer { memory: Memory::Heap(Vec::new()), len: 0, elements: PhantomData }
    }
}

impl<T: Real> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        let mut copy = Buffer::default();
        copy.resize(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl<T> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} elements]", self.len)
    }
}

impl<T: Real> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.memory {
            Memory::Heap(vec) => &bytemuck::cast_slice(vec)[..self.len],
            Memory::Mapped(map) => bytemuck::cast_slice(&map[..self.len * size_of::<T>()]),
        }
    }
}

impl<T: Real> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.memory {
            Memory::Heap(vec) => &mut bytemuck::cast_slice_mut(vec)[..self.len],
            Memory::Mapped(map) => bytemuck::cast_slice_mut(&mut map[..self.len * size_of::<T>()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_have_the_length_they_were_given() {
        let mut buffer = Buffer::<f32>::default();
        for len in [0, 5, 5, 3 << 20, 2 << 20, 7, 4 << 20] {
            buffer.resize(len);
            assert_eq!(buffer.len(), len);
            buffer.fill(1.5);
            assert!(buffer.clone().iter().all(|&x| x == 1.5));
        }
        assert!(buffer.bytes() >= 16 << 20);
    }
}
