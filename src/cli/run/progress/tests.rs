//! Progress in lines and in whole recorded outputs.
