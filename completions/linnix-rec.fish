# fish loads this file at the first <TAB>; the program itself knows what completes it.
linnix-rec completion fish | source
