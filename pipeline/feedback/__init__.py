"""What was served comes back: logged answers and later events, joined, judged, and made into training rows."""
