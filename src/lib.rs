//! voxd
