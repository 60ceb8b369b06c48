//! Graph rewrites: finding dense weights and replacing them by generators, each as a patch.
