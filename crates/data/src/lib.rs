//! Files in; cleaned, normalised, partitioned examples out.
