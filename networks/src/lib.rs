//! Tree tensor network weight generators: layouts, forward, adjoint and start.
