//! The adntn compiler: pipeline, verification, report, library API and adntn-compile.
